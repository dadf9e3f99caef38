"""Plans from start to report on the generated streets: complete, resumed, and refused if the data differ."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.config import Config

from lab.compare.executor import run_missing
from lab.compare.plan_runs import Run
from lab.compare.report import report_lines
from lab.compare.report_files import write_report
from lab.compare.run_list import list_runs
from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.files.errors import DataError
from tests.conftest import ROOT, run
from tests.lab.compare.conftest import open_runs, write_plan

RECORD = {
    'task', 'arm', 'seed', 'round', 'start', 'metric', 'identity', 'diverged', 'steps', 'seconds',
    'total_seconds', 'trainable', 'data', 'curve', 'metrics', 'weights', 'threads', 'machine', 'processor', 'time',
}  # fmt: skip


def test_two_arms_two_rounds_two_seeds(city, tmp_path, inside):
    plan, out = write_plan(tmp_path, city), tmp_path / 'out'
    plan_runs = open_runs(plan, out)
    assert list_runs(plan_runs).count('to run') == 4  # the second round waits for the first
    assert run_missing(plan_runs, 1, 1) == []
    assert len(inside) == 8
    results = {r: plan_runs.result(r) for r in plan_runs.wanted()}
    folder = plan_runs.prepare(Run('streets', 'refocused', 1)).folder
    names = {'config.py', 'run.json', 'result.json', 'fused.pth', 'fused.py', 'log.txt', 'train', 'test'}
    assert names <= {path.name for path in folder.iterdir()}
    assert not list(folder.glob('train/*.pth'))
    assert set(results[Run('streets', 'refocused', 1)]) == RECORD
    _first_and_second_round(plan_runs, results)
    _report(plan_runs, out)
    # Nothing runs twice: a new PlanRuns, as in a new process, finds everything done.
    again = open_runs(plan, out)
    assert run_missing(again, 1, 1) == []
    assert len(inside) == 8
    assert list_runs(again).endswith('0 runs to do')
    # Another setting makes another run in its own folder; the other runs stay done.
    changed = write_plan(tmp_path, city, 'control=dict(), refocused=dict(refocus=dict(gain=1.0))')
    other = open_runs(changed, out)
    text = list_runs(other)
    assert 'done     streets/control/seed 0' in text
    assert 'to run   streets/refocused/seed 0: 2 steps' in text
    # So does another start.
    torch.save({'state_dict': {**read_checkpoint(tmp_path / 'start.pth')['state_dict']}}, tmp_path / 'start.pth')
    assert 'done     streets/control/seed 0' in list_runs(open_runs(changed, out))  # the same weights, saved again
    state = read_checkpoint(tmp_path / 'start.pth')['state_dict']
    state['backbone.conv1.conv.weight'] += 1
    torch.save({'state_dict': state}, tmp_path / 'start.pth')
    assert 'to run   streets/control/seed 0' in list_runs(open_runs(changed, out))


def _first_and_second_round(plan_runs, results):
    for seed in (0, 1):
        first, second, third, fourth = (
            results[Run('streets', arm, seed)] for arm in ('control', 'refocused', 'control2', 'refocused2')
        )
        # The random start of the updates drew numbers, and yet order, augmentation and steps are equal.
        assert first['data'] == second['data'] != third['data'] == fourth['data']
        assert first['data']['steps'] == first['steps'] == 2
        assert first['weights'] != second['weights']
        assert fourth['start'] == str(plan_runs.prepare(Run('streets', 'refocused', seed)).folder / 'fused.pth')
        assert fourth['identity']['start'] == second['weights']
        assert first['trainable'] == second['trainable'] > 0
        assert [row['step'] for row in first['curve'] if 'loss' in row] == [1, 2]
    assert results[Run('streets', 'control', 0)]['data'] != results[Run('streets', 'control', 1)]['data']
    kernel = 'backbone.layer1.0.conv.0.conv.weight'
    states = [read_checkpoint(plan_runs.prepare(Run('streets', arm, 0)).folder / 'fused.pth')['state_dict']
              for arm in ('control', 'refocused')]  # fmt: skip
    assert set(states[0]) == set(states[1])
    assert not torch.equal(states[0][kernel], states[1][kernel])
    cfg = Config.fromfile(plan_runs.prepare(Run('streets', 'refocused', 0)).folder / 'fused.py')
    assert 'refconv_mm' not in cfg.pretty_text


def _report(plan_runs, out):
    assert {path.name for path in write_report(plan_runs, 'the command')} == {'report.md', 'runs.csv'}
    text = (out / 'report.md').read_text()
    assert '| refocused | 2 |' in text
    assert '| refocused2 | 2 |' in text
    assert len((out / 'runs.csv').read_text().splitlines()) == 1 + 8
    found = {line.arm: line for line in report_lines(plan_runs)['streets']}
    assert len(found['refocused'].scores) == 2
    assert found['refocused2'].against == 'control2'
    assert found['control2'].against is None


def test_an_arm_with_other_data_is_refused(city, tmp_path, inside):
    """For instance an arm whose pipeline flips differently."""
    arms = "control=dict(), flipped={'train_dataloader.dataset.pipeline.4.prob': 1.0}"
    plan_runs = open_runs(write_plan(tmp_path, city, arms, seeds='[0]'), tmp_path / 'out')
    assert run_missing(plan_runs, 1, 1) == []
    with pytest.raises(DataError, match='control/seed 0 and streets/flipped/seed 0 differ in the augmentation'):
        write_report(plan_runs, '')
    assert not (tmp_path / 'out/report.md').exists()


def test_a_failure_stops_only_what_starts_from_it(city, tmp_path, inside):
    arms = """control=dict(), odd={'optim_wrapper.optimizer.type': 'NoSuchOptimizer'}, after=dict(start='odd'),
    broken={'modle.x': 1}, wild={'optim_wrapper.optimizer.lr': 1e30}"""
    plan_runs = open_runs(write_plan(tmp_path, city, arms, seeds='[0]', steps=10), tmp_path / 'out')
    failures = {failure.run.arm: failure for failure in run_missing(plan_runs, 1, 1)}
    assert set(failures) == {'odd', 'after', 'broken'}
    assert failures['odd'].reason.startswith('TypeError')
    assert 'Traceback' in failures['odd'].log.read_text()
    assert failures['after'].reason == 'waits for a run that failed'
    assert "no 'modle'" in failures['broken'].reason
    # Divergence is a result and not a failure; the run is not repeated.
    assert 'decode.loss_ce nan' in plan_runs.result(Run('streets', 'wild', 0))['diverged']
    write_report(plan_runs, '')
    assert '| wild | 1 (1 diverged) |' in (tmp_path / 'out/report.md').read_text()
    assert len(inside) == 3


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(city, tmp_path):
    plan = write_plan(
        tmp_path, city, 'control=dict(), refocused=dict(refocus=dict(init="kaiming"))', steps=6, seeds='[3]', every=2
    )
    command = ('-m', 'lab', 'compare', plan, '--only', 'refocused', '--out-dir')
    words = [sys.executable, *map(str, command), str(tmp_path / 'killed')]
    process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, 'OMP_NUM_THREADS': '1'}, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    folder = tmp_path / 'killed/streets/refocused'
    deadline = time.monotonic() + 500
    while not list(folder.glob('*/train/iter_4.pth')):  # this one may be incomplete; iter_2 is complete
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(folder.glob('*/result.json'))
    assert 'to go on' in run(*command, tmp_path / 'killed', '--dry-run').stdout
    said = run(*command, tmp_path / 'killed').stdout
    assert '| refocused | 1 |' in said
    run(*command, tmp_path / 'whole')
    one, other = (json.loads(next(tmp_path.glob(f'{name}/streets/refocused/*/result.json')).read_text())
                  for name in ('killed', 'whole'))  # fmt: skip
    assert 'resumes from' in next(folder.glob('*/log.txt')).read_text()
    assert one['data'] == other['data']
    assert one['data']['steps'] == one['steps'] == 6
    assert one['weights'] == other['weights']
