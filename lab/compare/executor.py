"""Runs the missing runs of a plan, each in a process of its own, and shows the progress."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from refconv_mm.console import progress_display
from refconv_mm.files.writing import write_json, write_text
from .identity import snapshot
from .plan_runs import PlanRuns, PreparedRun, Run
from .single_run import BUSY
from .time_left import clock, seconds_left

POLL = 0.5  # seconds between two checks of the active runs


@dataclass
class Failure:
    """A run that ended without a result."""

    run: Run
    reason: str
    log: Path | None = None


@dataclass
class _Active:
    prepared: PreparedRun
    process: Popen
    begin: float
    bar: TaskID
    share: float = 0.0


@dataclass
class Executor:
    """Runs the runs of a plan.

    Args:
        plan_runs: the runs.
        jobs: runs at the same time.
        threads: threads of each.
    """

    plan_runs: PlanRuns
    jobs: int = 1
    threads: int = 1
    failures: dict[Run, Failure] = field(default_factory=dict)
    active: dict[Run, _Active] = field(default_factory=dict)
    script: Path = field(default=Path(), init=False)

    def run(self) -> list[Failure]:
        """Runs until no run is left that can start.

        Returns:
            The runs that failed, and those that start from one of them.
        """
        self.script = snapshot(self.plan_runs.out_dir / 'code', self.plan_runs.code)
        columns = TextColumn('{task.description}'), BarColumn(), TextColumn('{task.fields[left]}'), TimeElapsedColumn()
        with progress_display(*columns) as progress:
            total = progress.add_task('all runs', total=1, left='')
            try:
                self._start(progress)
                while self.active:
                    self._show(progress, total)
                    time.sleep(POLL)
                    self._collect(progress)
                    self._start(progress)
                self._show(progress, total)
            finally:
                for active in self.active.values():
                    active.process.terminate()
                for active in self.active.values():
                    active.process.wait()
        left = [
            run for run in self.plan_runs.wanted() if run not in self.failures and self.plan_runs.result(run) is None
        ]
        return [*self.failures.values(), *(Failure(run, 'waits for a run that failed') for run in left)]

    def _start(self, progress: Progress) -> None:
        """Starts runs while there is room."""
        for run in self.plan_runs.wanted():
            if len(self.active) >= self.jobs:
                return
            if run in self.active or run in self.failures or self.plan_runs.result(run) is not None:
                continue
            if run in self.plan_runs.broken:
                self.failures[run] = Failure(run, self.plan_runs.broken[run])
                progress.console.print(f'{run}: cannot run: {self.plan_runs.broken[run]}', markup=False)
            elif self.plan_runs.ready(run):
                self._launch(self.plan_runs.prepare(run), progress)

    def _launch(self, prepared: PreparedRun, progress: Progress) -> None:
        folder = prepared.folder
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / 'config.py', prepared.cfg.pretty_text)
        write_json(folder / 'run.json', prepared.record)
        environment = {**os.environ, 'OMP_NUM_THREADS': str(self.threads), 'MKL_NUM_THREADS': str(self.threads)}
        with open(folder / 'log.txt', 'a') as log:
            command = [sys.executable, '-W', 'ignore', str(self.script), str(folder)]
            process = Popen(command, env=environment, stdout=log, stderr=log)
        bar = progress.add_task(str(prepared.run), total=1, left='')
        self.active[prepared.run] = _Active(prepared, process, time.monotonic(), bar)

    def _collect(self, progress: Progress) -> None:
        for run, active in list(self.active.items()):
            code = active.process.poll()
            if code is None:
                continue
            del self.active[run]
            progress.remove_task(active.bar)
            result, log = self.plan_runs.result(run), active.prepared.folder / 'log.txt'
            if result is not None:
                text = f'{run}: {_brief(self.plan_runs, result)}; {self._left()[2]}'
                progress.console.print(text, markup=False, highlight=False)
                continue
            reason = 'another process does this run' if code == BUSY else _last_line(log) or f'exit code {code}'
            self.failures[run] = Failure(run, reason, log)
            progress.console.print(f'{run}: failed: {reason} ({log})', markup=False, highlight=False)

    def _show(self, progress: Progress, total: TaskID) -> None:
        for active in self.active.values():
            path = active.prepared.folder / 'progress.json'
            try:
                known = json.loads(path.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            active.share = known['step'] / known['steps']
            progress.update(active.bar, completed=active.share, left=f'{known["step"]} of {known["steps"]}')
        done, wanted, text = self._left()
        progress.update(total, total=wanted, completed=done, left=text)

    def _left(self) -> tuple[int, int, str]:
        """The numbers of finished and of wanted runs, and both with the time left as text."""
        wanted = self.plan_runs.wanted()
        done = sum(self.plan_runs.result(run) is not None for run in wanted)
        seconds = seconds_left(self.plan_runs, self.jobs, {run: active.share for run, active in self.active.items()})
        left = f', about {clock(seconds)} left' if seconds else ''
        return done, len(wanted), f'{done} of {len(wanted)} runs{left}'


def run_missing(plan_runs: PlanRuns, jobs: int, threads: int) -> list[Failure]:
    """Runs what is missing; see :class:`Executor`."""
    plan_runs.out_dir.mkdir(parents=True, exist_ok=True)
    return Executor(plan_runs, jobs, threads).run()


def _brief(plan_runs: PlanRuns, result: dict[str, Any]) -> str:
    if result['diverged']:
        return result['diverged']
    task = plan_runs.plan.tasks[result['task']]
    value = result['metrics'][result['split']].get(task.metric, math.nan) * task.scale
    return f'{task.metric} ({result["split"]}) {value:.4g}, {result["steps"]} steps in {result["seconds"]:.0f} s'


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    return lines[-1][:300] if lines else ''
