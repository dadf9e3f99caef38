"""Files whose writer is killed, and the checkpoint that a run then resumes from."""

import random
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from mmengine.runner import save_checkpoint

from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.files.errors import UntrustedError
from refconv_mm.deploy.export import Exported, write_onnx
from refconv_mm.files.writing import PART, write_json, write_text
from refconv_mm.files.lock import only_one
from refconv_mm.running.settings import latest_checkpoint

from tests.checkpoints.test_fusing import Evil
from tests.faults.processes import Forked

TIMES = [2, pytest.param(50, marks=pytest.mark.faults)]


def of_mmengine(seg_run):
    checkpoints = [dict(state_dict={'a': torch.full((2**20,), fill)}, meta={}) for fill in (1.0, 2.0)]
    return [lambda path, one=one: save_checkpoint(one, str(path)) for one in checkpoints]


def of_fusing(seg_run):
    fused = fuse_checkpoint(seg_run['cfg'], read_checkpoint(seg_run['last']))
    other = fuse_checkpoint(seg_run['cfg'], read_checkpoint(seg_run['last']), source='another')
    return [lambda path, one=one: write_fused(one, path.parent, overwrite=True) for one in (fused, other)]


def of_export(seg_run):
    """Two graphs of one large constant, in the place of exported models."""
    models = []
    for fill in (1.0, 2.0):
        constant = onnx.numpy_helper.from_array(np.full(2**20, fill, np.float32), 'constant')
        proto = onnx.helper.make_model(onnx.helper.make_graph([], 'graph', [], [], [constant]))
        models.append(Exported(SimpleNamespace(proto=proto), {}))
    return [lambda path, one=one: write_onnx(one, path, overwrite=True) for one in models]


def of_text(seg_run):
    """The pages of reports; every one goes through `write_text`."""
    return [lambda path, letter=letter: write_text(path, letter * 2**22) for letter in 'ab']


def of_results(seg_run):
    results = [dict(metrics=dict(test=dict(mIoU=value)), curve=list(range(2**18))) for value in (1.0, 2.0)]
    return [lambda path, one=one: write_json(path, one) for one in results]


KINDS = {
    'iter_1.pth': of_mmengine, 'fused.pth': of_fusing, 'model.onnx': of_export, 'report.html': of_text,
    'result.json': of_results,
}  # fmt: skip


@pytest.mark.parametrize('times', TIMES)
@pytest.mark.parametrize('name', KINDS)
def test_a_killed_writer_leaves_the_old_file_or_the_new_one(name, times, seg_run, tmp_path):
    """The writers of the package, and mmengine's, write two versions in turn until they are killed."""
    path, rng, contents = tmp_path / name, random.Random(times), []
    writers = KINDS[name](seg_run)
    for write in writers:
        begin = time.monotonic()
        write(path)
        pause = 2 * (time.monotonic() - begin)
        contents.append(path.read_bytes())

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


# -- what is resumed ---------------------------------------------------------------------------------------


def checkpoint(path: Path, content: str = 'whole') -> Path:
    torch.save(dict(state_dict={'a': torch.rand(99)}, meta=dict(iter=1, epoch=0)), path)
    if content == 'half':
        path.write_bytes(path.read_bytes()[:-300])
    if content == 'empty':
        path.write_bytes(b'')
    if content == 'evil':
        torch.save(dict(state_dict={}, meta=Evil()), path)
    return path


@pytest.mark.parametrize(
    ('files', 'record', 'expected'),
    [
        ({}, None, None),
        ({}, 'iter_10.pth', None),
        ({8: 'whole', 9: 'whole', 10: 'whole'}, 'iter_10.pth', 10),
        ({8: 'whole', 9: 'whole', 10: 'half'}, 'iter_10.pth', 9),
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
    for step, content in files.items():
        checkpoint(tmp_path / f'iter_{step}.pth', content)
    checkpoint(tmp_path / 'best_mIoU_iter_99.pth')
    checkpoint(tmp_path / 'fused.pth')
    if record is not None:
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / record))
    assert latest_checkpoint(tmp_path) == (expected and tmp_path / f'iter_{expected}.pth')


def test_a_moved_folder_and_a_folder_of_the_hook_are_found(tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'other').mkdir()
    record = tmp_path / 'work' / 'last_checkpoint'
    record.write_text('/gone/epoch_3.pth')
    assert latest_checkpoint(tmp_path / 'work') is None
    mine = checkpoint(tmp_path / 'work' / 'epoch_3.pth')
    assert latest_checkpoint(tmp_path / 'work') == mine
    record.write_text(str(checkpoint(tmp_path / 'other' / 'epoch_4.pth')))
    assert latest_checkpoint(tmp_path / 'work') == tmp_path / 'other' / 'epoch_4.pth'


def test_a_latest_checkpoint_that_would_run_code_is_not_passed_over(tmp_path):
    checkpoint(tmp_path / 'iter_1.pth')
    checkpoint(tmp_path / 'iter_2.pth', 'evil')
    with pytest.raises(UntrustedError, match=r'iter_2\.pth .*could run code'):
        latest_checkpoint(tmp_path)
