"""Runs what is missing, a process a run, and says how far it is."""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..console import progress_display
from ..files import write_whole
from . import identity
from .book import Book, Prepared, Run
from .plan import BASELINE
from .run_hook import write_json
from .worker import BUSY

POLL = 0.5  # seconds between looks at the runs at work


@dataclass
class Failure:
    """A run that ended without a result."""

    run: Run
    reason: str
    log: Path | None = None


@dataclass
class _Active:
    prepared: Prepared
    process: Popen
    begin: float
    bar: TaskID
    share: float = 0.0


@dataclass
class Executor:
    """Runs a book's runs.

    Args:
        book: the book.
        jobs: runs at the same time.
        threads: threads of each.
    """

    book: Book
    jobs: int = 1
    threads: int = 1
    failures: dict[Run, Failure] = field(default_factory=dict)
    active: dict[Run, _Active] = field(default_factory=dict)
    script: Path = field(default=Path(), init=False)

    def run(self) -> list[Failure]:
        """Runs until nothing is left that can run.

        Returns:
            The runs that failed, and those that had to wait for one of them.
        """
        self.script = identity.snapshot(self.book.out_dir / 'code', self.book.code)
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
        left = [run for run in self.book.wanted() if run not in self.failures and self.book.result(run) is None]
        return [*self.failures.values(), *(Failure(run, 'waits for a run that failed') for run in left)]

    def _start(self, progress: Progress) -> None:
        """Starts runs while there is room."""
        for run in self.book.wanted():
            if len(self.active) >= self.jobs:
                return
            if run in self.active or run in self.failures or self.book.result(run) is not None:
                continue
            if run in self.book.broken:
                self.failures[run] = Failure(run, self.book.broken[run])
                progress.console.print(f'{run}: cannot run: {self.book.broken[run]}', markup=False)
            elif self.book.ready(run):
                self._launch(self.book.prepare(run), progress)

    def _launch(self, prepared: Prepared, progress: Progress) -> None:
        folder = prepared.folder
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / 'config.py', lambda path: Path(path).write_text(prepared.cfg.pretty_text))
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
            result, log = self.book.result(run), active.prepared.folder / 'log.txt'
            if result is not None:
                text = f'{run}: {_brief(self.book, result)}; {self._left()[2]}'
                progress.console.print(text, markup=False, highlight=False)
                continue
            reason = 'another process is at it' if code == BUSY else _last_line(log) or f'exit code {code}'
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
        """Runs that are done, runs that are wanted, and the same with the time left in words."""
        wanted = self.book.wanted()
        done = sum(self.book.result(run) is not None for run in wanted)
        seconds = time_left(self.book, self.jobs, {run: active.share for run, active in self.active.items()})
        left = f', about {clock(seconds)} left' if seconds else ''
        return done, len(wanted), f'{done} of {len(wanted)} runs{left}'


def expected_seconds(book: Book) -> dict[Run, float]:
    """What each missing run will take, as far as finished ones tell.

    It is the median of what finished runs of the arm (of the task, where it has none) took, in proportion to the
    steps; nothing is said of tasks of which nothing is done yet.
    """
    runs, rates = book.wanted(), defaultdict(list)
    for run in runs:
        result = book.result(run)
        if result and result.get('steps'):
            for name in ((run.task, run.arm), (run.task, '')):
                rates[name].append(result['total_seconds'] / result['steps'])
    expected = {}
    for run in runs:
        known, steps = rates.get((run.task, run.arm)) or rates.get((run.task, '')), steps_of(book, run)
        if book.result(run) is None and known and steps:
            expected[run] = statistics.median(known) * steps
    return expected


def steps_of(book: Book, run: Run) -> int:
    """Steps of a run's budget; 0 where its config decides."""
    task = book.plan.tasks[run.task]
    budget = task.baseline.budget if run.arm == BASELINE else task.budget
    return 0 if budget is None else budget.steps


def time_left(book: Book, jobs: int, shares: dict[Run, float] | None = None) -> float:
    """Seconds until all wanted runs are done, as far as finished ones tell.

    Args:
        shares: how much is done of the runs that are at work.
    """
    shares = shares or {}
    return sum(seconds * (1 - shares.get(run, 0)) for run, seconds in expected_seconds(book).items()) / jobs


def clock(seconds: float) -> str:
    """`1:05 h` or `4 min`."""
    minutes = round(seconds / 60)
    return f'{minutes // 60}:{minutes % 60:02d} h' if minutes >= 60 else f'{max(1, minutes)} min'


def _brief(book: Book, result: dict[str, Any]) -> str:
    if result['diverged']:
        return result['diverged']
    task = book.plan.tasks[result['task']]
    value = result['metrics'][result['split']].get(task.metric, math.nan) * task.scale
    return f'{task.metric} ({result["split"]}) {value:.4g}, {result["steps"]} steps in {result["seconds"]:.0f} s'


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    return lines[-1][:300] if lines else ''
