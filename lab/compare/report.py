"""The report of a comparison: its lines, one for each arm, and their tables in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from refconv_mm.files.errors import DataError

from ..tables import table
from .plan import BASELINE
from .plan_runs import PlanRuns, Run
from .stats import Estimate, paired, summary

Result = dict[str, Any]


@dataclass
class Line:
    """One arm of one task.

    Attributes:
        against: the arm that it is compared with.
        scores: the metric of the test split by seed, scaled; NaN where a run diverged.
        results: the results of the runs, by seed.
    """

    task: str
    arm: str
    against: str | None
    scores: dict[int, float]
    results: dict[int, Result]


def report_lines(plan_runs: PlanRuns) -> dict[str, list[Line]]:
    """The finished part of a plan, by task: the baseline, then each arm.

    Raises:
        DataError: runs of the same task, seed and round saw different data; the message names them.
    """
    check_data(plan_runs)
    found: dict[str, list[Line]] = {}
    wanted = plan_runs.wanted()
    for task, scale in ((name, spec.scale) for name, spec in plan_runs.plan.tasks.items()):
        rows: list[tuple[str, str | None, list[Run]]]
        rows = [(BASELINE, None, [run for run in wanted if run.task == task and run.arm == BASELINE])]
        for arm in plan_runs.plan.arms_of(task):
            if (task, arm.name) in plan_runs.pairs:
                rows.append((arm.name, arm.against, [Run(task, arm.name, seed) for seed in plan_runs.plan.seeds]))
        for name, against, runs in rows:
            done = {run.seed: result for run in runs if (result := plan_runs.result(run)) is not None}
            scores = {seed: scale * plan_runs.value(result) for seed, result in done.items()}
            if done:
                found.setdefault(task, []).append(Line(task, name, against, scores, done))
    return found


def check_data(plan_runs: PlanRuns) -> None:
    """Raises a DataError if finished runs of the same task, seed and round differ in order or augmentation of data."""
    first: dict[tuple[str, int, int], tuple[Run, Result]] = {}
    names = dict(steps='the number of steps', order='the order of samples', inputs='the augmentation')
    problems = []
    for run in plan_runs.wanted():
        result = plan_runs.result(run)
        if run.arm == BASELINE or not result or result['diverged']:
            continue
        other, data = first.setdefault((run.task, run.seed, result['round']), (run, result['data']))
        if wrong := [name for key, name in names.items() if data[key] != result['data'][key]]:
            problems.append(f'{other} and {run} differ in {wrong[0]}')
    if problems:
        raise DataError(
            'arms did not see the same data, so their difference has no meaning:\n  ' + '\n  '.join(problems)
        )


# -- Markdown ----------------------------------------------------------------------------------------------


def markdown(plan_runs: PlanRuns, found: dict[str, list[Line]], command: str) -> str:
    """The whole report."""
    parts = [
        f'`{command}`',
        'Each arm against the arm named, on the same seeds: same start, same data in the same order with the same '
        'augmentation (compared by hash), same steps. Scores are of the fused model on the test split; sd is that of '
        'a sample, the interval is the 95 % confidence interval of the mean paired difference (t distribution).',
    ]
    for task, lines in found.items():
        parts += [f'## {task}: {plan_runs.plan.tasks[task].metric}', score_table(lines)]
        if any(math.isfinite(training_loss(result)) for line in lines for result in line.results.values()):
            parts += ['Mean training loss of the last tenth of the steps:', loss_table(lines)]
    every = [line for lines in found.values() for line in lines]
    commits = {result['identity']['commit'] for line in every for result in line.results.values()}
    return '\n\n'.join([*parts, f'Commit: {", ".join(sorted(commits))}.']) + '\n'


def score_table(lines: Sequence[Line]) -> str:
    """Scores, differences and costs of the arms."""
    head = ['arm', 'seeds', 'mean', 'sd', 'against', 'difference', '95 % CI', 'steps', 'seconds', 'trainable']
    scores, rows = {line.arm: line.scores for line in lines}, []
    for line in lines:
        diverged = sum(not math.isfinite(score) for score in line.scores.values())
        own = summary(line.scores)
        seeds = str(own.n) + (f' ({diverged} diverged)' if diverged else '')
        change = difference_of(scores, line)
        cells = [number(change.mean, True) if change else '', interval(change)]
        row = [line.arm, seeds, number(own.mean), number(own.sd), line.against or '', *cells]
        rows.append([*row, *costs(line)])
    return table(head, rows)


def loss_table(lines: Sequence[Line]) -> str:
    """Training losses of the same runs, and their differences."""
    values = {line.arm: {seed: training_loss(run) for seed, run in line.results.items()} for line in lines}
    rows = []
    for line in lines:
        change = difference_of(values, line)
        cells = [number(change.mean, True) if change else '', interval(change)]
        rows.append([line.arm, number(summary(values[line.arm]).mean), *cells])
    return table(['arm', 'mean', 'difference', '95 % CI'], rows)


def difference_of(values: dict[str, dict[int, float]], line: Line) -> Estimate | None:
    """The paired difference of an arm to the one that it is compared with, if that is among the values."""
    return paired(values[line.arm], values[line.against]) if line.against in values else None


def interval(change: Estimate | None) -> str:
    """The 95 % confidence interval as text."""
    if change is None or not math.isfinite(change.half):
        return '' if change is None else 'needs two seeds'
    return f'{number(change.interval[0], True)} to {number(change.interval[1], True)}'


def training_loss(result: Result) -> float:
    """Mean training loss of the last tenth of a run's steps; NaN if its log has none.

    It spreads far less over seeds than a score does, so it shows smaller differences.
    """
    points = [(point['step'], point['loss']) for point in result.get('curve', []) if 'loss' in point]
    last = [loss for step, loss in points if step > 0.9 * points[-1][0]]
    return statistics.fmean(last) if last else math.nan


def costs(line: Line) -> list[str]:
    """Steps, seconds and trainable parameters of an arm's runs; empty if all of them diverged."""
    done = [result for result in line.results.values() if not result['diverged']]
    if not done:
        return ['', '', '']
    seconds = sum(result['seconds'] for result in done) / len(done)
    return [str(done[0]['steps']), f'{seconds:.0f}', f'{done[0]["trainable"]:,}']


def number(value: float, signed: bool = False) -> str:
    """A number with at most four significant digits; '' if it is not finite."""
    return '' if not math.isfinite(value) else f'{value:{"+" if signed else ""}.4g}'
