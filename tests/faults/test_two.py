"""Two runs in one folder, an empty folder, clocks that are wrong, many files."""

import os
import shutil
import time

import pytest

from refconv_mm.running.settings import latest_checkpoint

from tests.faults.conftest import STEPS
from tests.faults.test_disks import assert_sentence
from tests.faults.test_kills import assert_equal
from tests.faults.test_writing import checkpoint


def test_two_runs_in_one_work_dir(segmenter_job):
    """The second is refused before it writes anything; the first ends as if alone."""
    job = segmenter_job
    expected, first = job.whole(), job.train('shared')
    while not (job.folder / 'shared' / 'iter_1.pth').exists():
        assert first.poll() is None, first.said[-3000:]
        time.sleep(0.01)
    shutil.copy(job.folder / 'shared.log', job.folder / 'first.log')
    for words in (('--init', job.start), ('--resume',)):
        (job.folder / 'shared').rename(job.folder / 'moved')  # its log would be that of the first
        (job.folder / 'moved').rename(job.folder / 'shared')
        second = job.train('shared', *words, '--cfg-options', 'log_level=ERROR')
        assert second.wait() == 2
        assert f'another run works in {job.folder}/shared' in second.said
    assert first.wait() == 0
    assert len(list((job.folder / 'shared').glob('2*'))) == 1  # mmengine makes a folder for each start
    assert_equal(job.weights('shared'), expected)


def test_resume_in_an_empty_folder_starts_nothing(segmenter_job, tmp_path):
    (tmp_path / 'empty').mkdir()
    for name in ('empty', 'missing'):
        process = segmenter_job.train(tmp_path / name, '--resume')
        assert_sentence(process, 2, f'there is no checkpoint in {tmp_path / name} to resume from', 'leave out --resume')
        assert [path.name for path in (tmp_path / name).iterdir()] == ['.lock']


def test_the_clock_does_not_choose_the_checkpoint(tmp_path):
    """The clock was set back a year between two checkpoints, and the older one looks newer."""
    for step in (8, 9, 10):
        path = checkpoint(tmp_path / f'iter_{step}.pth')
        os.utime(path, (time.time() - step * 10**7,) * 2)
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_10.pth'
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_9.pth'))
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_9.pth'


@pytest.mark.faults
def test_ten_thousand_files_in_the_work_dir(segmenter_job):
    """Among them 5,000 checkpoints, ordered by their steps and not as texts."""
    job = segmenter_job
    expected, work_dir = job.whole(), job.folder / 'many'
    shutil.copytree(job.folder / 'whole', work_dir)
    for step in (STEPS - 1, STEPS):
        (work_dir / f'iter_{step}.pth').unlink()
    for number in range(5_000):
        (work_dir / f'note_{number}.txt').touch()
        (work_dir / f'iter_{10_000 + number}.pth').write_bytes(b'of an earlier run')
    (work_dir / 'last_checkpoint').write_text(str(work_dir / f'iter_{STEPS - 2}.pth'))
    resumed = job.train('many', '--resume')
    assert resumed.wait() == 0, resumed.said[-3000:]
    assert f'iter_{STEPS - 2}.pth' in resumed.said
    assert_equal(job.weights('many'), expected)
