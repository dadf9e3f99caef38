"""The list of a plan's runs: which are done, which would run, and how long that would take."""

from __future__ import annotations

from .plan_runs import PlanRuns
from .time_left import clock, expected_seconds, seconds_left, steps_of


def list_runs(plan_runs: PlanRuns, jobs: int) -> str:
    """One line for each run, and the expected time.

    Args:
        jobs: runs at the same time.
    """
    expected, rows, missing = expected_seconds(plan_runs), [], []
    for run in plan_runs.wanted():
        done = plan_runs.result(run)
        if done is not None:
            rows.append(f'done     {run}: {done["total_seconds"]:.0f} s')
            continue
        missing.append(run)
        about = f', about {clock(expected[run])}' if run in expected else ''
        steps = f'{steps_of(plan_runs, run)} steps' if steps_of(plan_runs, run) else 'as its config says'
        if run in plan_runs.broken:
            rows.append(f'broken   {run}: {plan_runs.broken[run]}')
        elif not plan_runs.ready(run):
            rows.append(f'waits    {run}: {steps}{about}; starts from {plan_runs.start_of(run)}')
        else:
            state = 'to go on' if any(plan_runs.prepare(run).folder.glob('train/*.pth')) else 'to run  '
            others = ''.join(f'; a run of this name has another {parts}' for parts in plan_runs.others(run))
            rows.append(f'{state} {run}: {steps}{about}{others}')
    open_arms = [f'{task}/{arm}' for task, arm in plan_runs.pairs if plan_runs.reported(task, arm) is None]
    if open_arms:
        more = len(open_arms) * len(plan_runs.plan.seeds)
        rows.append(f'later    {more} runs at the points that tuning chooses: {", ".join(open_arms)}')
    left, unknown = f'{len(missing)} runs to do', sum(run not in expected for run in missing)
    if expected:
        left += f', about {clock(seconds_left(plan_runs, jobs))} with {jobs} at a time'
    if unknown:
        left += f'; there is no estimate for {unknown} of them before a run of their task is done'
    return '\n'.join([*rows, left])
