"""Ctrl-C: one line that says how to go on, exit code 130, no traceback."""

import os
import random
import shutil
import signal
import time

import pytest

from tests.lab.compare.conftest import write_plan
from tests.faults.processes import refconv

NAMES = 'train', 'test', 'fuse', 'export', 'check-data', 'compare', 'analyse'  # `report` ends in no time
GOES_ON = {
    'train': '; the same command with --resume continues from the last checkpoint',
    'compare': '; the same command goes on from here',
}

SHORT = ['--batches=2', '--eigenvalues=1', '--probes=2', '--lanczos=2', '--starts=1', '--ascent=1', '--radii', '0.02']


def command_line(name, job, seg_run, city, folder) -> tuple:
    """A command that is busy for seconds."""
    if name == 'compare':
        return name, write_plan(folder, city, 'control=dict()', steps=99), '--out-dir', folder / 'compared'
    return {
        'train': (name, job.config, '--init', job.start, '--cfg-options', 'train_cfg.max_iters=999', '--work-dir'),
        'test': (name, job.config, seg_run['last'], '--work-dir'),
        'fuse': (name, job.config, seg_run['last'], '--force', '--out-dir'),
        'export': (name, job.config, seg_run['last'], '--force', folder / 'm.onnx'),
        'check-data': (name, job.config),
        'analyse': (name, 'curvature', job.config, seg_run['work_dir'] / 'fused.pth', *SHORT, '--out-dir'),
    }[name] + ((folder / 'out',) if name not in ('export', 'check-data') else ())


def interrupt(process) -> int:
    """Presses Ctrl-C, and again after ten seconds: a bare `except:` in a library can swallow one.

    Returns:
        The exit code.
    """
    for _ in range(5):
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    return process.kill()


@pytest.mark.parametrize(
    ('name', 'times'),
    [('train', 1), *(pytest.param(name, 10, marks=pytest.mark.faults) for name in NAMES)],
)
def test_ctrl_c_ends_with_one_line(name, times, segmenter_job, seg_run, city, tmp_path):
    """At random moments, the last of them near the end that the command took undisturbed."""
    words, rng, begin = (
        command_line(name, segmenter_job, seg_run, city, tmp_path),
        random.Random(times),
        time.monotonic(),
    )
    span = 20.0
    if name not in GOES_ON:
        assert refconv(tmp_path / 'log', *words).wait() == 0
        span = time.monotonic() - begin
    interrupted = 0
    for number in range(times):
        log = tmp_path / f'log{number}'
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)  # an analysis keeps what it measured
        process = refconv(log, *words)
        deadline = time.monotonic() + (0.02 + 0.9 * rng.random()) * span
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        code = interrupt(process)
        assert 'Traceback' not in process.said, process.said[-3000:]
        if code == 0:
            continue  # it was done
        assert code == 130, process.said[-3000:]
        last = process.said.strip().splitlines()[-1]
        assert last == f'refconv {name}: interrupted{GOES_ON.get(name, "")}' or last == 'refconv: interrupted', last
        interrupted += 1
    assert interrupted
