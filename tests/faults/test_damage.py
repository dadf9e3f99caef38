"""Damaged, foreign and unsafe checkpoints, and samples that cannot be read."""

import pickle
import random
import re
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.files.errors import CheckpointError
from refconv_mm.files.reading import read_file
from tests.checkpoints.test_fusing import Evil
from tests.conftest import segmenter
from tests.faults.processes import Forked, refconv


def zip_bomb(path: Path) -> None:
    """64 MiB of zeros in 64 KiB."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('bomb/data.pkl', pickle.dumps(dict(state_dict={}), protocol=2))
        archive.writestr('bomb/version', '3\n')
        archive.writestr('bomb/data/0', bytes(2**26))


def cut_legacy(path: Path) -> None:
    torch.save(dict(state_dict={'a': torch.ones(3)}), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-7])


NO_FILE = 'is damaged or not a PyTorch checkpoint'
SPOILT = {
    'empty': (lambda path: path.write_bytes(b''), NO_FILE),
    'text': (lambda path: path.write_text('not a checkpoint\n' * 99), NO_FILE),
    'zip': (lambda path: zipfile.ZipFile(path, 'w').writestr('a.txt', 'a'), NO_FILE),
    'pickle': (lambda path: path.write_bytes(pickle.dumps([1, 2])), NO_FILE),
    'legacy, cut': (cut_legacy, NO_FILE),
    'list': (lambda path: torch.save([1, 2], path), 'holds a list'),
    'optimizer': (lambda path: torch.save(dict(optimizer={}, epoch=3), path), 'has no state_dict; it holds: optimizer'),
    'numbers': (lambda path: torch.save(dict(state_dict={1: torch.ones(1)}), path), '.* its state_dict is not a dict'),
    'meta': (lambda path: torch.save(dict(state_dict={}, meta=[1]), path), '.* its meta is not a dict'),
    'bomb': (zip_bomb, '.* is compressed and would unpack to 64 MiB'),
    'sharded': (lambda path: path.mkdir(), 'is a folder, not a checkpoint'),
}


@pytest.mark.parametrize('name', SPOILT)
def test_a_damaged_or_foreign_file_is_refused_by_name(name, tmp_path):
    spoil, message = SPOILT[name]
    spoil(tmp_path / 'spoilt.pth')
    with pytest.raises(CheckpointError, match=rf'spoilt\.pth {message}'):
        read_checkpoint(tmp_path / 'spoilt.pth')


@pytest.mark.parametrize('times', [5, pytest.param(100, marks=pytest.mark.faults)])
def test_a_truncated_checkpoint_is_refused_by_name(times, seg_run, tmp_path):
    content, rng = seg_run['last'].read_bytes(), random.Random(times)
    for _ in range(times):
        (tmp_path / 'cut.pth').write_bytes(content[: rng.randrange(len(content))])
        with pytest.raises(CheckpointError, match=r'cut\.pth is damaged'):
            read_checkpoint(tmp_path / 'cut.pth')


@pytest.mark.parametrize('times', [8, pytest.param(300, marks=pytest.mark.faults)])
def test_a_flipped_bit_is_noticed(times, seg_run, tmp_path):
    """In a record of the file; half of the flips hit the pickle, which is a small part. Padding has no meaning."""
    content, rng, path = seg_run['last'].read_bytes(), random.Random(times), tmp_path / 'flipped.pth'
    with zipfile.ZipFile(seg_run['last']) as archive:
        parts = {part.filename.partition('/')[2]: part for part in archive.infolist()}

    def read() -> None:
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            read_file(path)

    for number in range(times):
        part = parts['data.pkl' if number % 2 else rng.choice(list(parts))]
        name, padding = struct.unpack_from('<HH', content, part.header_offset + 26)
        flipped = bytearray(content)
        place = part.header_offset + 30 + name + padding + rng.randrange(part.file_size)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        Forked(read, tmp_path / 'log').ends_well()  # so that a crash of Python would not end the tests


# -- files that run code -----------------------------------------------------------------------------------


@pytest.fixture
def evil(tmp_path, segmenter_job) -> Path:
    """A work dir with a good checkpoint that also makes the file `was_here` when it is unpickled."""
    content = dict(torch.load(segmenter_job.start), meta=dict(iter=1, epoch=0), more=Evil(tmp_path / 'was_here'))
    (tmp_path / 'work').mkdir()
    torch.save(content, tmp_path / 'work' / 'iter_1.pth')
    (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'work' / 'iter_1.pth'))
    return tmp_path / 'work' / 'iter_1.pth'


WAYS = {
    'fuse': 'fuse {config} {evil} --out-dir {out}/fused',
    'test': 'test {config} {evil} --work-dir {out}/test',
    'export': 'export {config} {evil} {out}/m.onnx',
    'init': 'train {config} --work-dir {out}/new --init {evil}',
    'resume': 'train {config} --work-dir {out}/new --resume {evil}',
    'resume, found': 'train {config} --work-dir {out}/work --resume',
    'load_from': 'train {config} --work-dir {out}/new --cfg-options load_from={evil}',
    'Pretrained': 'train {config} --work-dir {out}/new --cfg-options model.backbone.init_cfg.type=Pretrained '
    'model.backbone.init_cfg.checkpoint={evil}',
}


@pytest.mark.parametrize(
    'way', [way if way in ('fuse', 'load_from') else pytest.param(way, marks=pytest.mark.faults) for way in WAYS]
)
def test_code_in_a_checkpoint_runs_only_if_trusted(way, evil, segmenter_job, tmp_path, monkeypatch):
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', raising=False)
    words = WAYS[way].format(config=segmenter_job.config, evil=evil, out=tmp_path).split()
    refconv(tmp_path / 'log', *words).refuses('could run code: it asks for pathlib', '--trust')
    assert not (tmp_path / 'was_here').exists(), 'the code ran'
    trusted = refconv(tmp_path / 'log', *words, '--trust')
    trusted.wait_for(tmp_path / 'was_here')
    trusted.kill()


# -- samples -----------------------------------------------------------------------------------------------


def test_a_training_that_cannot_read_a_sample_names_it(city, tmp_path):
    """Pillow says that a label map is truncated, not which one; the error of a worker loses its frames."""
    root = Path(shutil.copytree(city, tmp_path / 'city'))
    for path in (root / 'gtFine/train/drawn').glob('*labelTrainIds.png'):
        path.write_bytes(path.read_bytes()[:200])
    cfg = segmenter(root, tmp_path / 'work', '_control')
    cfg.log_level, cfg.train_dataloader.num_workers = 'ERROR', 1
    cfg.dump(tmp_path / 'config.py')
    named = 'leftImg8bit.png or ', '_gtFine_labelTrainIds.png: ', 'Error: ', 'truncated'
    refconv(tmp_path / 'log', 'train', tmp_path / 'config.py').refuses(*named)
