"""Runs the missing runs of a plan, each in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from refconv_mm.files.writing import write_json, write_text

from .identity import ROOT
from .plan_runs import PlanRuns, PreparedRun, Run
from .single_run import BUSY

POLL = 0.5  # seconds between two checks of the active runs


@dataclass
class Failure:
    """A run that ended without a result."""

    run: Run
    reason: str
    log: Path | None = None


def run_missing(plan_runs: PlanRuns, jobs: int, threads: int) -> list[Failure]:
    """Runs the runs of a plan until none is left that can start.

    Args:
        plan_runs: the runs.
        jobs: runs at the same time.
        threads: threads of each.

    Returns:
        The runs that failed, and those that start from one of them.
    """
    active: dict[Run, tuple[PreparedRun, Popen]] = {}
    failures: dict[Run, Failure] = {}
    try:
        while True:
            for run in plan_runs.wanted():
                if len(active) < jobs and run not in active and run not in failures and plan_runs.result(run) is None:
                    if run in plan_runs.broken:
                        failures[run] = Failure(run, plan_runs.broken[run])
                    elif plan_runs.ready(run):
                        active[run] = plan_runs.prepare(run), _launch(plan_runs.prepare(run), threads)
            if not active:
                break
            time.sleep(POLL)
            for run, (prepared, process) in list(active.items()):
                if (code := process.poll()) is not None:
                    del active[run]
                    if failure := _ended(plan_runs, prepared, code):
                        failures[run] = failure
    finally:
        for _, process in active.values():
            process.terminate()
        for _, process in active.values():
            process.wait()
    left = [run for run in plan_runs.wanted() if run not in failures and plan_runs.result(run) is None]
    return [*failures.values(), *(Failure(run, 'waits for a run that failed') for run in left)]


def _launch(prepared: PreparedRun, threads: int) -> Popen:
    folder = prepared.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / 'config.py', prepared.cfg.pretty_text)
    write_json(folder / 'run.json', prepared.record)
    print(f'{prepared.run}: runs in {folder}', flush=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    environment = {**os.environ, 'PYTHONPATH': path}
    environment |= dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(threads))
    with open(folder / 'log.txt', 'a') as log:
        command = [sys.executable, '-W', 'ignore', '-m', 'lab.compare.single_run', str(folder)]
        return Popen(command, env=environment, stdout=log, stderr=log)


def _ended(plan_runs: PlanRuns, prepared: PreparedRun, code: int) -> Failure | None:
    """Prints the result of a run whose process has ended; a failure if it has none."""
    run, log, result = prepared.run, prepared.folder / 'log.txt', plan_runs.result(prepared.run)
    if result is not None:
        print(f'{run}: {_brief(plan_runs, result)}', flush=True)
        return None
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    last = lines[-1][:300] if lines else f'exit code {code}'
    failure = Failure(run, 'another process does this run' if code == BUSY else last, log)
    print(f'{run}: failed: {failure.reason} ({log})', flush=True)
    return failure


def _brief(plan_runs: PlanRuns, result: dict[str, Any]) -> str:
    if result['diverged']:
        return result['diverged']
    task = plan_runs.plan.tasks[result['task']]
    value = result['metrics'][task.metric] * task.scale
    return f'{task.metric} {value:.4g}, {result["steps"]} steps in {result["seconds"]:.0f} s'
