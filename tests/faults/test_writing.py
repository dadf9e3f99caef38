"""Files whose writer is killed, and the checkpoint that a run then resumes from."""

import os
import random
import time
from pathlib import Path

import pytest
import torch
from mmengine.runner import save_checkpoint

from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.files.lock import only_one
from refconv_mm.files.writing import PART
from refconv_mm.running.settings import latest_checkpoint
from tests.faults.processes import Forked


def of_mmengine(seg_run):
    checkpoints = [dict(state_dict={'a': torch.full((2**20,), fill)}, meta={}) for fill in (1.0, 2.0)]
    return [lambda path, one=one: save_checkpoint(one, str(path)) for one in checkpoints]


def of_fusing(seg_run):
    checkpoint = read_checkpoint(seg_run['last'])
    fused = [fuse_checkpoint(seg_run['cfg'], checkpoint, source=source) for source in ('one', 'another')]
    return [lambda path, one=one: write_fused(one, path.parent, overwrite=True) for one in fused]


WRITERS = {'iter_1.pth': of_mmengine, 'fused.pth': of_fusing}


@pytest.mark.parametrize(
    ('name', 'times'),
    [('iter_1.pth', 3), *(pytest.param(name, 50, marks=pytest.mark.faults) for name in WRITERS)],
)
def test_a_killed_writer_leaves_the_old_file_or_the_new_one(name, times, seg_run, tmp_path):
    """The writers of the package, and mmengine's, write two versions in turn until they are killed."""
    path, rng, contents = tmp_path / name, random.Random(times), []
    writers, begin = WRITERS[name](seg_run), time.monotonic()
    for write in writers:
        write(path)
        contents.append(path.read_bytes())
    pause = time.monotonic() - begin

    def alternate() -> None:
        while True:
            for write in writers:
                write(path)

    unfinished = 0
    for _ in range(times):
        process = Forked(alternate, tmp_path / 'log')
        time.sleep(0.01 + rng.random() * 2 * pause)
        process.kill()
        assert path.read_bytes() in contents
        unfinished += any(tmp_path.glob(f'{PART}*'))
        with only_one(tmp_path):  # as the next run in this folder begins
            assert not list(tmp_path.glob(f'{PART}*'))
    assert unfinished or times < 10, 'no writer was killed while it wrote'


# -- the checkpoint to resume from ---------------------------------------------------------------------------


def checkpoint(path: Path, content: str = 'whole') -> Path:
    torch.save(dict(state_dict={'a': torch.rand(99)}, meta=dict(iter=1, epoch=0)), path)
    end = dict(whole=None, half=-300, empty=0)[content]
    path.write_bytes(path.read_bytes()[:end])
    return path


@pytest.mark.parametrize(
    ('files', 'record', 'expected'),
    [
        ({}, 'iter_10.pth', None),
        ({8: 'whole', 9: 'whole', 10: 'whole'}, 'iter_10.pth', 10),
        ({8: 'whole', 9: 'half', 10: 'empty'}, 'iter_10.pth', 8),
        ({8: 'whole', 9: 'whole'}, 'iter_10.pth', 9),  # the named one is gone
        ({9: 'whole', 10: 'whole'}, 'iter_1', 10),  # half a record
        ({9: 'whole', 10: 'half'}, '', 9),
        ({9: 'whole', 10: 'whole'}, None, 10),
        ({8: 'half', 9: 'half'}, 'iter_9.pth', None),
        ({2: 'whole', 3: 'half', 50: 'whole'}, 'iter_3.pth', 2),  # 50 is of an earlier run
    ],
)
def test_the_last_whole_checkpoint_is_resumed(files, record, expected, tmp_path):
    """Later steps look older, as after a clock was set back."""
    for step, content in files.items():
        os.utime(checkpoint(tmp_path / f'iter_{step}.pth', content), (10**9 - step,) * 2)
    checkpoint(tmp_path / 'best_mIoU_iter_99.pth')
    checkpoint(tmp_path / 'fused.pth')
    if record is not None:
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / record))
    assert latest_checkpoint(tmp_path) == (expected and tmp_path / f'iter_{expected}.pth')


def test_a_moved_folder_and_a_folder_of_the_hook_are_found(tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'other').mkdir()
    record, mine = tmp_path / 'work' / 'last_checkpoint', checkpoint(tmp_path / 'work' / 'epoch_3.pth')
    record.write_text('/gone/epoch_3.pth')
    assert latest_checkpoint(tmp_path / 'work') == mine
    record.write_text(str(checkpoint(tmp_path / 'other' / 'epoch_4.pth')))
    assert latest_checkpoint(tmp_path / 'work') == tmp_path / 'other' / 'epoch_4.pth'
