"""The list of a plan's runs: the finished ones, and those that would run."""

from __future__ import annotations

from .plan import BASELINE
from .plan_runs import PlanRuns, Run


def list_runs(plan_runs: PlanRuns) -> str:
    """One line for each run."""
    rows, missing = [], 0
    for run in plan_runs.wanted():
        done = plan_runs.result(run)
        if done is not None:
            rows.append(f'done     {run}: {done["total_seconds"]:.0f} s')
            continue
        missing += 1
        if run in plan_runs.broken:
            rows.append(f'broken   {run}: {plan_runs.broken[run]}')
        elif not plan_runs.ready(run):
            rows.append(f'waits    {run}: {_steps(plan_runs, run)}; starts from {plan_runs.start_of(run)}')
        else:
            state = 'to go on' if any(plan_runs.prepare(run).folder.glob('train/*.pth')) else 'to run  '
            rows.append(f'{state} {run}: {_steps(plan_runs, run)}')
    return '\n'.join([*rows, f'{missing} runs to do'])


def _steps(plan_runs: PlanRuns, run: Run) -> str:
    task = plan_runs.plan.tasks[run.task]
    budget = task.baseline.budget if run.arm == BASELINE else task.budget
    return 'as its config says' if budget is None else f'{budget.steps} steps'
