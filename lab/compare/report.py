"""The report of a comparison: its lines, one for each arm, and their tables in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from refconv_mm.files.errors import DataError

from ..tables import table as grid
from .plan import BASELINE, Point
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
    point: Point
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
                rows.append((arm.name, arm.against, plan_runs.reported(task, arm.name) or []))
        for name, against, runs in rows:
            done = {run.seed: result for run in runs if (result := plan_runs.result(run)) is not None}
            scores = {seed: scale * plan_runs.value(result, 'test') for seed, result in done.items()}
            if done:
                found.setdefault(task, []).append(Line(task, name, against, runs[0].point, scores, done))
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
        spec = plan_runs.plan.tasks[task]
        better = '' if spec.higher_is_better else ', lower is better'
        parts += [f'## {task}: {spec.metric}{better}', score_table(lines)]
        if any(math.isfinite(training_loss(result)) for line in lines for result in line.results.values()):
            losses = comparison_table(lines, training_loss)
            parts += ['Mean training loss of the last tenth of the steps, against the same arms:', losses]
        for name in spec.also:
            values = partial(_scaled, plan_runs, spec.scale, name)
            parts += [f'The same runs by {name}:', comparison_table(lines, values)]
        if plan_runs.plan.grid:
            seeds = list(plan_runs.plan.tune_seeds)
            parts += [f'Tuned on the validation split, seeds {seeds}:', _tuning(plan_runs, task)]
        if any('val' in result['metrics'] for line in lines for result in line.results.values()):
            parts += ['The config validates on the test split: it has no validation split of its own.']
    every = [line for lines in found.values() for line in lines]
    commits = {result['identity']['commit'] for line in every for result in line.results.values()}
    return '\n\n'.join([*parts, f'Commit: {", ".join(sorted(commits))}.']) + '\n'


def _scaled(plan_runs: PlanRuns, scale: float, name: str, result: Result) -> float:
    return scale * plan_runs.value(result, 'test', name)


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
        row = [line.arm + _point(line.point), seeds, number(own.mean), number(own.sd), line.against or '', *cells]
        rows.append([*row, *costs(line)])
    return grid(head, rows)


def comparison_table(lines: Sequence[Line], of: Callable[[Result], float]) -> str:
    """Another number of the same runs: mean, difference, interval, and in how many seeds it is lower."""
    values = {line.arm: {seed: of(result) for seed, result in line.results.items()} for line in lines}
    rows = []
    for line in lines:
        change, lower = difference_of(values, line), ''
        if change and line.against:
            own, control = values[line.arm], values[line.against]
            lower = f'{sum(own[seed] < control[seed] for seed in own if seed in control)} of {change.n}'
        cells = [number(change.mean, True) if change else '', interval(change), lower]
        rows.append([line.arm, number(summary(values[line.arm]).mean), *cells])
    return grid(['arm', 'mean', 'difference', '95 % CI', 'lower in'], rows)


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


def _tuning(plan_runs: PlanRuns, task: str) -> str:
    points, rows, scale = plan_runs.plan.points(), [], plan_runs.plan.tasks[task].scale
    for name in [name for of, name in plan_runs.pairs if of == task]:
        cells = []
        for point in points:
            results = [plan_runs.result(Run(task, name, seed, point)) for seed in plan_runs.plan.tune_seeds]
            values = {at: scale * plan_runs.value(result, 'val') for at, result in enumerate(results) if result}
            chosen = '**' if point == plan_runs.chosen(task, name) else ''
            cells.append(f'{chosen}{number(summary(values).mean)}{chosen}' if values else '')
        rows.append([name, *cells])
    return grid(['arm', *(_point(point).strip(' ()') for point in points)], rows)


def _point(point: Point) -> str:
    parts = [f'{name.rpartition(".")[2]}={value}' for name, value in point]
    return f' ({", ".join(parts)})' if point else ''


def number(value: float, signed: bool = False) -> str:
    """A number with at most four significant digits; '' if it is not finite."""
    return '' if not math.isfinite(value) else f'{value:{"+" if signed else ""}.4g}'
