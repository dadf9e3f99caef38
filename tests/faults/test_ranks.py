"""Trainings of two processes: one dies or hangs, or both end as they should."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.running.settings import latest_checkpoint

from tests.conftest import ROOT, run

TIMEOUT = 40  # seconds, of the process group


def launch(job, work_dir, log, *words):
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2',
               'tools/train.py', job.config, '--launcher', 'pytorch', '--work-dir', work_dir, *words]  # fmt: skip
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    with open(log, 'w') as file:
        return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=env, stdout=file, stderr=file)


def process_of_rank(rank: int, launcher: int) -> int:
    """The process that a launcher started for a rank."""
    for path in Path('/proc').glob('[0-9]*'):
        try:
            parent = int((path / 'stat').read_text().rpartition(')')[2].split()[1])
            if parent == launcher and f'RANK={rank}' in (path / 'environ').read_text().split('\0'):
                return int(path.name)
        except (OSError, ValueError):
            continue
    raise LookupError(f'no process of rank {rank}')


@pytest.mark.faults
@pytest.mark.parametrize('rank', [0, 1])
@pytest.mark.parametrize('fault', [signal.SIGKILL, signal.SIGSTOP], ids=['dies', 'hangs'])
def test_the_other_process_ends_and_the_run_goes_on(fault, rank, segmenter_job, tmp_path):
    job, work_dir = segmenter_job, tmp_path / 'work'
    options = ('--cfg-options', f'env_cfg.dist_cfg.timeout={TIMEOUT}', 'default_hooks.checkpoint.interval=2')
    process = launch(job, work_dir, tmp_path / 'log', '--init', job.start, *options, 'train_cfg.max_iters=9999')
    while not (work_dir / 'iter_4.pth').exists():
        assert process.poll() is None, (tmp_path / 'log').read_text()[-3000:]
        time.sleep(0.02)
    os.kill(process_of_rank(rank, process.pid), fault)
    # The launcher gives a stopped process 30 seconds before it kills it.
    assert process.wait(timeout=10 * TIMEOUT) != 0
    said = (tmp_path / 'log').read_text()
    assert ('Timed out' in said) if fault == signal.SIGSTOP else ('SIGKILL' in said or 'Signal 9' in said), said[-3000:]
    last = latest_checkpoint(work_dir)
    step = read_checkpoint(last)['meta']['iter']
    assert step >= 2
    resumed = launch(job, work_dir, tmp_path / 'log', '--resume', *options, f'train_cfg.max_iters={step + 2}')
    assert resumed.wait(timeout=600) == 0, (tmp_path / 'log').read_text()[-3000:]
    assert f'resumes from {last}' in ' '.join((tmp_path / 'log').read_text().split())
    read_checkpoint(work_dir / f'iter_{step + 2}.pth')


@pytest.mark.faults
def test_a_finished_training_ends_as_finished(segmenter_job, tmp_path):
    """50 times; a thread of gloo could abort a process at its end (`leave_process_group`)."""
    job = segmenter_job
    words = (job.config, '--init', job.start, '--launcher', 'pytorch', '--work-dir', tmp_path / 'work{}')
    options = ('--cfg-options', 'train_cfg.max_iters=2')
    ended = run('-m', 'tests.faults.pairs', 50, tmp_path / 'log', *words, *options, check=False, timeout=3000)
    assert ended.returncode == 0, ended.stdout + (tmp_path / 'log').read_text()[-6000:]
