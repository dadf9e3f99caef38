"""Damaged and foreign checkpoints, and checkpoints that want to run code."""

import http.server
import os
import pickle
import random
import struct
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.files.errors import CheckpointError
from refconv_mm.files.reading import read_file

from tests.conftest import detector, random_checkpoint
from tests.faults.processes import Forked, refconv


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def zip_bomb(path: Path) -> None:
    """64 MiB of zeros in 64 KiB."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('bomb/data.pkl', pickle.dumps(dict(state_dict={}), protocol=2))
        archive.writestr('bomb/version', '3\n')
        with archive.open('bomb/data/0', 'w', force_zip64=True) as part:
            part.write(bytes(2**26))


def legacy(path: Path) -> None:
    torch.save(dict(state_dict={'a': torch.ones(3)}), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-7])


def sharded(path: Path) -> None:
    path.mkdir()
    (path / '__0_0.distcp').write_bytes(b'x')


SPOILT = {
    'empty': (lambda path: path.write_bytes(b''), 'damaged or not a PyTorch checkpoint'),
    'text': (lambda path: path.write_text('not a checkpoint\n' * 99), 'damaged or not a PyTorch checkpoint'),
    'json': (lambda path: path.write_text('{"state_dict": {}}'), 'damaged or not a PyTorch checkpoint'),
    'zip': (lambda path: zipfile.ZipFile(path, 'w').writestr('a.txt', 'a'), 'damaged or not a PyTorch checkpoint'),
    'pickle': (lambda path: path.write_bytes(pickle.dumps([1, 2])), 'damaged or not a PyTorch checkpoint'),
    'numpy': (lambda path: np.save(path.open('wb'), np.ones(3)), 'damaged or not a PyTorch checkpoint'),
    'list': (lambda path: torch.save([1, 2], path), 'holds a list'),
    'tensor': (lambda path: torch.save(torch.ones(3), path), 'holds a Tensor'),
    'optimizer': (lambda path: torch.save(dict(optimizer={}, epoch=3), path), 'has no state_dict'),
    'numbers': (lambda path: torch.save(dict(state_dict={1: torch.ones(1)}), path), 'its state_dict is not a dict'),
    'none': (lambda path: torch.save(dict(state_dict=None), path), 'its state_dict is not a dict'),
    'meta': (lambda path: torch.save(dict(state_dict={}, meta=[1]), path), 'its meta is not a dict'),
    'bomb': (zip_bomb, 'it is compressed and would unpack to 64 MiB'),
    'legacy, cut': (legacy, 'damaged or not a PyTorch checkpoint'),
    'sharded': (sharded, 'is a folder, not a checkpoint'),
}


@pytest.mark.parametrize('name', SPOILT)
def test_what_is_no_checkpoint_is_refused_by_name(name, tmp_path):
    spoil, message = SPOILT[name]
    spoil(tmp_path / 'spoilt.pth')
    with pytest.raises(CheckpointError, match=rf'spoilt\.pth .*{message}'):
        read_checkpoint(tmp_path / 'spoilt.pth')


@pytest.mark.parametrize('times', [5, pytest.param(100, marks=pytest.mark.faults)])
def test_a_cut_checkpoint_is_refused(times, seg_run, tmp_path):
    content, rng = seg_run['last'].read_bytes(), random.Random(times)
    for _ in range(times):
        (tmp_path / 'cut.pth').write_bytes(content[: rng.randrange(len(content))])
        with pytest.raises(CheckpointError, match=r'cut\.pth is damaged'):
            read_checkpoint(tmp_path / 'cut.pth')


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return hasattr(one, 'statistics') or one == other  # mmengine's log buffers have no equality


@pytest.mark.parametrize('times', [8, pytest.param(300, marks=pytest.mark.faults)])
def test_a_flipped_byte_is_noticed_or_does_no_harm(times, seg_run, tmp_path):
    """Half of the flips hit the pickle and the headers, which are a small part of the file."""
    content, rng = seg_run['last'].read_bytes(), random.Random(times)
    expected, path = read_file(seg_run['last']), tmp_path / 'flipped.pth'
    with zipfile.ZipFile(seg_run['last']) as archive:
        parts = archive.infolist()
    fragile = [range(part.header_offset, part.header_offset + 99) for part in parts]
    fragile += [range(0, 20_000), range(len(content) - 60 * len(parts), len(content))]
    harmless = []

    def read() -> None:
        try:
            found = read_file(path)
        except CheckpointError as error:
            print(error)
            raise SystemExit(7) from None
        assert same(found, expected)

    for number in range(times):
        place = rng.choice(rng.choice(fragile)) if number % 2 else rng.randrange(len(content))
        flipped = bytearray(content)
        flipped[place] ^= rng.randrange(1, 256)
        path.write_bytes(flipped)
        (tmp_path / 'log').write_text('')
        process = Forked(read, tmp_path / 'log')  # so that a crash of Python would not end the tests
        assert process.wait() in (0, 7), (place, process.code, process.said[-2000:])
        assert process.code == 0 or str(path) in process.said
        harmless += [place] if process.code == 0 else []
    assert len(harmless) < times  # what does no harm lies in the padding and in unused fields of the headers
    for part in parts:
        name, padding = struct.unpack_from('<HH', content, part.header_offset + 26)
        begin = part.header_offset + 30 + name + padding
        assert not [place for place in harmless if begin <= place < begin + part.file_size]


# -- foreign checkpoints -----------------------------------------------------------------------------------


@pytest.mark.faults
def test_foreign_checkpoints_are_refused_by_name_or_loaded(segmenter_job, seg_run, voc, tmp_path):
    """Of another model, another width, with the prefix of DDP, fused twice; tested, fused and resumed."""
    job, state = segmenter_job, read_checkpoint(seg_run['last'])['state_dict']
    foreign = random_checkpoint(detector(voc, tmp_path), tmp_path / 'detector.pth')
    wide = {key: torch.cat([value] * 2) if value.ndim else value for key, value in state.items()}
    torch.save(dict(state_dict=wide), tmp_path / 'wide.pth')
    wrapped = OrderedDict((f'module.{key}', value) for key, value in state.items())
    torch.save(dict(state_dict=wrapped), tmp_path / 'ddp.pth')
    fused = seg_run['work_dir'] / 'fused.pth'
    for command, file, code, message in (
        ('test', foreign, 2, 'does not fit the model of the config'),
        ('test', tmp_path / 'wide.pth', 2, 'size mismatch'),
        ('test', tmp_path / 'ddp.pth', 0, 'a refocused checkpoint, fused in memory'),
        ('test', fused, 0, 'a fused checkpoint, as it is'),
        ('fuse', foreign, 2, 'there is nothing to fuse'),
        ('fuse', tmp_path / 'wide.pth', 2, 'size mismatch'),
        ('fuse', tmp_path / 'ddp.pth', 0, 'layers agree'),
        ('fuse', fused, 2, 'is fused already'),
        ('train --resume', fused, 2, 'a plain run cannot be resumed as a refocused one'),
    ):
        name, _, option = command.partition(' ')
        words = [option, file] if option else [file]
        words += ['--out-dir', tmp_path / f'out_{file.stem}'] if name == 'fuse' else ['--work-dir', tmp_path / 'work']
        process = refconv(tmp_path / 'log', name, job.config, *words)
        assert process.wait() == code, (command, file, process.said[-3000:])
        assert message in ' '.join(process.said.split())
        assert 'Traceback' not in process.said
        (tmp_path / 'log').unlink()


# -- files that run code -----------------------------------------------------------------------------------


@pytest.fixture
def evil(tmp_path, segmenter_job) -> Path:
    """A good checkpoint that also makes the file `was_here` when it is unpickled."""
    good = torch.load(segmenter_job.start)
    torch.save(dict(good, meta=dict(iter=1, epoch=0), more=Evil(tmp_path / 'was_here')), tmp_path / 'evil.pth')
    return tmp_path / 'evil.pth'


@pytest.fixture
def address(tmp_path):
    """The address of the folder, served on this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(tmp_path))

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def ways(evil: Path, job, address: str) -> dict[str, tuple]:
    """All ways by which a tool reads a checkpoint, as command lines."""
    config, out = job.config, evil.parent
    train = ('train', config, '--work-dir', out / 'work')
    resumable = out / 'resumable'
    resumable.mkdir()
    (resumable / 'iter_1.pth').write_bytes(evil.read_bytes())
    (resumable / 'last_checkpoint').write_text(str(resumable / 'iter_1.pth'))
    pretrained = out / 'pretrained.py'
    pretrained.write_text(
        f"_base_ = '{config}'\nmodel = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{evil}')))\n"
    )
    plan = out / 'plan.py'
    plan.write_text(
        f"tasks = dict(t=dict(config='{config}', baseline=dict(checkpoint='{evil}'), metric='mIoU'))\n"
        'arms = dict(control=dict())\nseeds = [0]\nbudget = dict(steps=1)\n'
    )
    return {
        'fuse': ('fuse', config, evil, '--out-dir', out / 'fused'),
        'test': ('test', config, evil, '--work-dir', out / 'work'),
        'export': ('export', config, evil, out / 'm.onnx'),
        'redundancy': ('analyse', 'redundancy', evil, '--out-dir', out / 'inside'),
        'skeleton': ('analyse', 'skeleton', evil, '--out-dir', out / 'inside'),
        'theory': ('analyse', 'theory', evil, evil, '--names', 'a,b', '--config', config, '--out-dir', out / 'inside'),
        'landscape': ('analyse', 'landscape', config, evil, '--out-dir', out / 'inside'),
        'curvature': ('analyse', 'curvature', config, evil, '--batches', 1, '--out-dir', out / 'inside'),
        'init': (*train, '--init', evil),
        'resume': (*train, '--resume', evil),
        'resume, found': ('train', config, '--work-dir', resumable, '--resume'),
        'load_from': (*train, '--cfg-options', f'load_from={evil}'),
        'load_from and resume': (*train, '--cfg-options', f'load_from={evil}', 'resume=True'),
        'resume of the config': ('train', config, '--work-dir', resumable, '--cfg-options', 'resume=True'),
        'Pretrained': ('train', pretrained, *train[2:]),
        'pretrained': (*train, '--cfg-options', f'model.pretrained={evil}'),
        'a download': (*train, '--cfg-options', f'load_from={address}/evil.pth'),
        'compare': ('compare', plan, '--out-dir', out / 'compared'),
    }


WAYS = ('fuse', 'test', 'export', 'redundancy', 'skeleton', 'theory', 'landscape', 'curvature', 'init', 'resume',
        'resume, found', 'load_from', 'load_from and resume', 'resume of the config', 'Pretrained', 'pretrained',
        'a download', 'compare')  # fmt: skip
QUICK = ('fuse', 'load_from')


@pytest.mark.parametrize('way', [way if way in QUICK else pytest.param(way, marks=pytest.mark.faults) for way in WAYS])
def test_code_in_a_checkpoint_does_not_run(way, evil, segmenter_job, address, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, 'TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', raising=False)
    words = ways(evil, segmenter_job, address)[way]
    process = refconv(tmp_path / 'log', *words)
    code = process.wait()
    said = ' '.join(process.said.split())
    assert not (tmp_path / 'was_here').exists(), 'the code ran'
    assert 'could run code: it asks for pathlib' in said, said[-3000:]
    assert code == (1 if way == 'compare' else 2)
    assert 'Traceback' not in said
    if way == 'compare':
        return  # it has no --trust
    assert '--trust' in said
    if way in ('fuse', 'init', 'resume', 'Pretrained', 'a download'):
        refconv(tmp_path / 'log', *words, '--trust').wait()
        assert (tmp_path / 'was_here').exists()
