"""Full, read-only and odd places to write to."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from refconv_mm import commands
from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.files.errors import WriteError

from tests.lab.compare.conftest import write_plan
from tests.faults.processes import Forked, refconv
from tests.faults.test_kills import assert_equal
from tests.faults.test_writing import KINDS


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs of a given size."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(size: str, *options: str) -> Path:
        words = ['mount', '-t', 'tmpfs', '-o', ','.join([f'size={size}', *options]), 'tmpfs', str(folder)]
        if subprocess.run(words, capture_output=True).returncode:
            pytest.skip('mounting a tmpfs is not permitted here')
        return folder

    yield mount
    subprocess.run(['umount', '--lazy', str(folder)], capture_output=True)


def grow(disk: Path, size: str) -> None:
    subprocess.run(['mount', '-o', f'remount,size={size}', str(disk)], check=True)


def assert_sentence(process, code: int, *parts: str) -> None:
    """The process ended with one line that has all parts, and without a traceback."""
    assert process.wait() == code, process.said[-3000:]
    assert 'Traceback' not in process.said
    last = process.said.strip().splitlines()[-1]
    assert all(part in last for part in parts), last


FULL = 'No space left on device (without it, ', 'MiB are free on its disk)'


def test_a_disk_that_is_full_at_a_checkpoint(segmenter_job, small_disk, tmp_path):
    """The third checkpoint does not fit; with more room the run goes on from the second."""
    job, disk = segmenter_job, small_disk('17m')
    words = ('train', job.config, '--work-dir', disk / 'work')
    assert_sentence(refconv(tmp_path / 'log', *words, '--init', job.start), 2, 'iter_3.pth: ', *FULL)
    assert sorted(path.name for path in disk.glob('work/*.pth')) == ['iter_1.pth', 'iter_2.pth']
    assert not list(disk.glob('work/.part-*'))
    for step in (1, 2):
        read_checkpoint(disk / f'work/iter_{step}.pth')
    grow(disk, '200m')
    resumed = refconv(tmp_path / 'log', *words, '--resume')
    assert resumed.wait() == 0, resumed.said[-3000:]
    assert f'resumes from {disk}/work/iter_2.pth' in ' '.join(resumed.said.split())
    job.whole()
    shutil.copytree(disk / 'work', job.folder / 'was_full')
    assert_equal(job.weights('was_full'), job.whole())


def test_a_disk_that_is_full_at_fused_pth(seg_run, segmenter_job, small_disk, tmp_path):
    disk = small_disk('2m')
    words = ('fuse', segmenter_job.config, seg_run['last'], '--out-dir', disk / 'out')
    assert_sentence(refconv(tmp_path / 'log', *words), 2, f'{disk}/out/fused.pth: ', *FULL)
    assert list((disk / 'out').iterdir()) == []
    grow(disk, '20m')
    assert refconv(tmp_path / 'log', *words).wait() == 0
    read_checkpoint(disk / 'out' / 'fused.pth')


@pytest.mark.parametrize('name', ['iter_1.pth', 'model.onnx', 'report.html', 'result.json'])
def test_a_disk_that_is_full_leaves_the_old_file(name, small_disk, tmp_path):
    """The writers of test_writing.py, which write 4 MiB or more."""
    disk = small_disk('1m')
    (disk / name).write_bytes(b'old')
    with pytest.raises(WriteError, match=rf'cannot write {disk}/{name}: No space left on device \(without it, '):
        KINDS[name](None)[0](disk / name)
    assert [(path.name, path.read_bytes()) for path in disk.iterdir()] == [(name, b'old')]


@pytest.mark.faults
def test_a_disk_that_is_full_in_a_comparison(city, small_disk, tmp_path):
    """The runs that fail say why; what is done stays; the same command goes on."""
    disk, plan = small_disk('10m'), write_plan(tmp_path, city, 'control=dict(), refocused=dict(refocus=dict())')
    words = ('compare', plan, '--seeds', 0, '--out-dir', disk / 'out')
    first = refconv(tmp_path / 'log', *words)
    assert first.wait() == 1, first.said[-3000:]
    assert 'No space left on device' in ' '.join(first.said.split())
    assert 'Traceback' not in first.said
    done = {path: path.read_bytes() for path in disk.rglob('result.json')}
    grow(disk, '200m')
    second = refconv(tmp_path / 'log', *words)
    assert second.wait() == 0, second.said[-3000:]
    assert len(list(disk.rglob('result.json'))) == 2
    assert all(path.read_bytes() == content for path, content in done.items())


# -- places --------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_read_only_disk_and_a_file_in_the_place_of_a_folder(seg_run, segmenter_job, small_disk, tmp_path):
    job, disk = segmenter_job, small_disk('2m')
    file, start = tmp_path / 'file', ('--init', segmenter_job.start)
    file.write_text('mine')
    (disk / 'out').mkdir()
    subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)
    fuse = ('fuse', job.config, seg_run['last'], '--out-dir')
    for number, (words, parts) in enumerate((
        (('train', job.config, *start, '--work-dir', disk / 'work'), (f'{disk}/work', 'Read-only file system')),
        (('train', job.config, *start, '--work-dir', file), (str(file), 'File exists')),
        (('train', job.config, *start, '--work-dir', file / 'work'), (str(file), 'Not a directory')),
        (('train', job.config, *start, '--work-dir', tmp_path / ('n' * 300)), ('File name too long',)),
        (('train', tmp_path, *start), ('no config at', str(tmp_path))),
        (('train', job.config, '--init', tmp_path), (f'{tmp_path} is a folder, not a checkpoint',)),
        ((*fuse, disk / 'out'), (f'cannot write {disk}/out/fused.pth: Read-only file system',)),
        ((*fuse, file), (str(file), 'File exists')),
        (('export', job.config, seg_run['last'], disk / 'x.onnx'), (f'cannot write {disk}/x.onnx: Read-only',)),
        (('report', file, '--out', tmp_path / 'x.html'), ('no directory at', str(file))),
    )):  # fmt: skip
        assert_sentence(refconv(tmp_path / f'log{number}', *words), 2, *parts)
    assert file.read_text() == 'mine'


@pytest.mark.skipif(os.getuid() != 0, reason='root becomes another user here')
def test_a_folder_of_somebody_else(segmenter_job, tmp_path):
    """The process gives up root after its imports, and may read the folder and not write into it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        config, start = (shutil.copy(path, folder / path.name) for path in (segmenter_job.config, segmenter_job.start))
        (folder / 'secret.pth').touch(mode=0o600)

        def as_nobody(*words: object) -> Forked:
            def run() -> None:
                os.setgid(65534)
                os.setuid(65534)
                commands.main([str(word) for word in words])

            return Forked(run, tmp_path / 'log')

        train = ('train', config, '--init')
        assert_sentence(as_nobody(*train, start, '--work-dir', folder / 'w'), 2, f'{name}/w: Permission denied')
        secret = as_nobody(*train, folder / 'secret.pth', '--work-dir', '/tmp/refconv_mm_nobody')
        assert_sentence(secret, 2, f'{name}/secret.pth: Permission denied')
        shutil.rmtree('/tmp/refconv_mm_nobody')


ODD = 'Ü 1\n ', 'Mäßige Übung 1 ', 'line\nbreak', "it's '50%' {x} [a] $b", '-rf', 'a,b=c', '日本'


@pytest.mark.faults
@pytest.mark.parametrize('name', ODD)
def test_odd_paths_work_from_start_to_fused(name, segmenter_job, tmp_path):
    """Config, start and work dir with spaces, umlauts, a newline, quotes and braces in their names."""
    folder, job = tmp_path / name, segmenter_job
    folder.mkdir()
    config, start = (shutil.copy(path, folder / path.name) for path in (job.config, job.start))
    words = ('train', config, '--work-dir', folder / 'work', '--cfg-options', 'train_cfg.max_iters=1')
    first = refconv(tmp_path / 'log', *words, '--init', start)
    assert first.wait() == 0, first.said[-3000:]
    fused = refconv(tmp_path / 'log', 'fuse', config, folder / 'work' / 'iter_1.pth')
    assert fused.wait() == 0, fused.said[-3000:]
    out = folder / 'work' / 'iter_1_fused'
    tested = refconv(tmp_path / 'log', 'test', out / 'fused.py', out / 'fused.pth', '--work-dir', folder / 'test')
    assert tested.wait() == 0, tested.said[-3000:]
    words = ('train', config, '--work-dir', folder / 'work', '--cfg-options', 'train_cfg.max_iters=2')
    resumed = refconv(tmp_path / 'log', *words, '--resume')
    assert resumed.wait() == 0, resumed.said[-3000:]
    assert (folder / 'work' / 'iter_2.pth').is_file()
