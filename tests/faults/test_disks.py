"""Full disks and odd paths."""

import shutil
import subprocess
from pathlib import Path

import pytest

from refconv_mm.checkpoints.fusing import read_checkpoint
from tests.faults.processes import refconv
from tests.faults.test_kills import assert_equal


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs of a given size."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(size: str) -> Path:
        if subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder], capture_output=True
        ).returncode:
            pytest.skip('mounting a tmpfs is not permitted here')
        return folder

    yield mount
    subprocess.run(['umount', '--lazy', folder], capture_output=True)


def grow(disk: Path, size: str) -> None:
    subprocess.run(['mount', '-o', f'remount,size={size}', disk], check=True)


FULL = 'No space left on device (without it, ', 'MiB are free on its disk)'


def test_a_disk_that_is_full_at_a_checkpoint(segmenter_job, small_disk, tmp_path):
    """The third checkpoint does not fit; with more room the run goes on from the second."""
    job, disk = segmenter_job, small_disk('17m')
    words = ('train', job.config, '--work-dir', disk / 'work')
    refconv(tmp_path / 'log', *words, '--init', job.start).refuses('iter_3.pth: ', *FULL)
    assert sorted(path.name for path in disk.glob('work/*.pth')) == ['iter_1.pth', 'iter_2.pth']
    assert not list(disk.glob('work/.part-*'))
    grow(disk, '200m')
    said = refconv(tmp_path / 'log', *words, '--resume').ends_well()
    assert f'resumes from {disk}/work/iter_2.pth' in said
    shutil.copytree(disk / 'work', job.folder / 'was_full')
    assert_equal(job.weights('was_full'), job.whole())


def test_a_disk_that_is_full_at_fused_pth(seg_run, segmenter_job, small_disk, tmp_path):
    disk = small_disk('2m')
    (disk / 'fused.pth').write_bytes(b'old')
    words = ('fuse', segmenter_job.config, seg_run['last'], '--force', '--out-dir', disk)
    refconv(tmp_path / 'log', *words).refuses(f'cannot write {disk}/fused.pth: ', *FULL)
    assert [(path.name, path.read_bytes()) for path in disk.iterdir()] == [('fused.pth', b'old')]
    grow(disk, '20m')
    refconv(tmp_path / 'log', *words).ends_well()
    read_checkpoint(disk / 'fused.pth')


@pytest.mark.faults
@pytest.mark.parametrize('name', ['Mäßige Übung 1\n ', "it's '50%' {x} [a] $b", '-rf', 'a,b=c', '日本'])
def test_odd_paths_work_from_start_to_fused(name, segmenter_job, tmp_path):
    """Config, start and work dir with spaces, umlauts, a newline, quotes and braces in their names."""
    folder, job, log = tmp_path / name, segmenter_job, tmp_path / 'log'
    folder.mkdir()
    config, start = (shutil.copy(path, folder / path.name) for path in (job.config, job.start))
    train, out = ('train', config, '--work-dir', folder / 'work'), folder / 'work' / 'iter_1_fused'
    refconv(log, *train, '--init', start, '--cfg-options', 'train_cfg.max_iters=1').ends_well()
    refconv(log, 'fuse', config, folder / 'work' / 'iter_1.pth').ends_well()
    refconv(log, 'test', out / 'fused.py', out / 'fused.pth', '--work-dir', folder / 'test').ends_well()
    refconv(log, *train, '--resume', '--cfg-options', 'train_cfg.max_iters=2').ends_well()
    assert (folder / 'work' / 'iter_2.pth').is_file()
