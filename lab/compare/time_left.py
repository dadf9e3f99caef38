"""Estimates of the time that the runs of a plan will take, from the runs that are done."""

from __future__ import annotations

import statistics
from collections import defaultdict

from .plan import BASELINE
from .plan_runs import PlanRuns, Run


def expected_seconds(plan_runs: PlanRuns) -> dict[Run, float]:
    """The expected time of each missing run.

    It is the median time of a step in the finished runs of the arm (of the task, if the arm has none) times the steps.
    Runs of a task without a finished run are left out.
    """
    runs, rates = plan_runs.wanted(), defaultdict(list)
    for run in runs:
        result = plan_runs.result(run)
        if result and result.get('steps'):
            for name in ((run.task, run.arm), (run.task, '')):
                rates[name].append(result['total_seconds'] / result['steps'])
    expected = {}
    for run in runs:
        known, steps = rates.get((run.task, run.arm)) or rates.get((run.task, '')), steps_of(plan_runs, run)
        if plan_runs.result(run) is None and known and steps:
            expected[run] = statistics.median(known) * steps
    return expected


def steps_of(plan_runs: PlanRuns, run: Run) -> int:
    """The steps of a run's budget; 0 if its config decides."""
    task = plan_runs.plan.tasks[run.task]
    budget = task.baseline.budget if run.arm == BASELINE else task.budget
    return 0 if budget is None else budget.steps


def seconds_left(plan_runs: PlanRuns, jobs: int, shares: dict[Run, float] | None = None) -> float:
    """The expected time until all wanted runs are done.

    Args:
        jobs: runs at the same time.
        shares: the finished part of each active run, 0 to 1.
    """
    shares = shares or {}
    return sum(seconds * (1 - shares.get(run, 0)) for run, seconds in expected_seconds(plan_runs).items()) / jobs


def clock(seconds: float) -> str:
    """`1:05 h` or `4 min`."""
    minutes = round(seconds / 60)
    return f'{minutes // 60}:{minutes % 60:02d} h' if minutes >= 60 else f'{max(1, minutes)} min'
