"""The report of a comparison: its lines, one for each arm, and their tables in Markdown."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

from refconv_mm.console import table as grid
from refconv_mm.files.errors import DataError
from .plan import BASELINE, Arm, Point
from .plan_runs import PlanRuns, Run
from .stats import Difference, Summary, paired, summary


@dataclass
class Line:
    """One arm of one task.

    Attributes:
        scores: the metric of the test split by seed, scaled; NaN where a run diverged.
        results: the results of the runs, by seed.
        difference: to the arm that it is compared with; None if the two have no seed in common.
    """

    task: str
    arm: str
    against: str | None
    point: Point
    scores: dict[int, float]
    results: dict[int, dict[str, Any]]
    summary: Summary
    difference: Difference | None = None


def report_lines(plan_runs: PlanRuns) -> dict[str, list[Line]]:
    """The finished part of a plan, by task: the baseline, then each arm.

    Raises:
        DataError: runs of the same task, seed and round saw different data; the message names them.
    """
    check_data(plan_runs)
    found: dict[str, list[Line]] = {}
    for task in plan_runs.plan.tasks:
        arms = [
            _line(plan_runs, task, arm) for arm in plan_runs.plan.arms_of(task) if (task, arm.name) in plan_runs.pairs
        ]
        table = [line for line in [_baseline(plan_runs, task), *arms] if line is not None]
        by_name = {line.arm: line for line in table}
        for line in table:
            if line.against in by_name:
                line.difference = paired(line.scores, by_name[line.against].scores)
        if table:
            found[task] = table
    return found


def check_data(plan_runs: PlanRuns) -> None:
    """Raises a DataError if finished runs of the same task, seed and round differ in order or augmentation of data."""
    groups: dict[tuple[str, int, int], list[tuple[Run, dict[str, Any]]]] = {}
    for run in plan_runs.wanted():
        result = plan_runs.result(run)
        if run.arm != BASELINE and result and not result['diverged']:
            groups.setdefault((run.task, run.seed, result['round']), []).append((run, result['data']))
    problems = []
    for members in groups.values():
        first, data = members[0]
        for run, other in members[1:]:
            if wrong := [what for what in ('steps', 'order', 'inputs') if data[what] != other[what]]:
                what = {'steps': 'the number of steps', 'order': 'the order of samples', 'inputs': 'the augmentation'}
                problems.append(f'{first} and {run} differ in {what[wrong[0]]}')
    if problems:
        raise DataError(
            'arms did not see the same data, so their difference has no meaning:\n  ' + '\n  '.join(problems)
        )


def _baseline(plan_runs: PlanRuns, task: str) -> Line | None:
    results = {
        run.seed: plan_runs.result(run) for run in plan_runs.wanted() if run.task == task and run.arm == BASELINE
    }
    return _of(plan_runs, task, BASELINE, None, (), results)


def _line(plan_runs: PlanRuns, task: str, arm: Arm) -> Line | None:
    runs = plan_runs.reported(task, arm.name) or []
    point = runs[0].point if runs else ()
    return _of(plan_runs, task, arm.name, arm.against, point, {run.seed: plan_runs.result(run) for run in runs})


def _of(
    plan_runs: PlanRuns,
    task: str,
    arm: str,
    against: str | None,
    point: Point,
    results: dict[int, dict[str, Any] | None],
) -> Line | None:
    done = {seed: result for seed, result in results.items() if result is not None}
    scale = plan_runs.plan.tasks[task].scale
    scores = {seed: scale * plan_runs.value(result, 'test') for seed, result in done.items()}
    return Line(task, arm, against, point, scores, done, summary(scores)) if done else None


# -- Markdown ----------------------------------------------------------------------------------------------


def markdown(plan_runs: PlanRuns, found: dict[str, list[Line]], command: str) -> str:
    """The whole report."""
    parts = [
        f'`{command}`',
        'Each arm against the arm named, on the same seeds: same start, same data in the same order with the same '
        'augmentation (compared by hash), same steps. Scores are of the fused model on the test split; sd is that of '
        'a sample, the interval is the 95 % confidence interval of the mean paired difference (t distribution).',
    ]
    for task, table in found.items():
        spec = plan_runs.plan.tasks[task]
        better = '' if spec.higher_is_better else ', lower is better'
        parts += [f'## {task}: {spec.metric}{better}', _table(table)]
        if any(math.isfinite(training_loss(result)) for line in table for result in line.results.values()):
            parts += ['Mean training loss of the last tenth of the steps, against the same arms:', _losses(table)]
        if spec.also:
            parts += ['The same runs by other metrics, mean and in brackets the difference:', _also(plan_runs, table)]
        if plan_runs.plan.grid:
            parts += [
                f'Tuned on the validation split, seeds {list(plan_runs.plan.tune_seeds)}:',
                _tuning(plan_runs, task),
            ]
        if any('val' in result['metrics'] for line in table for result in line.results.values()):
            parts += ['The config validates on the test split: it has no validation split of its own.']
    return '\n\n'.join(parts) + '\n'


def _table(table: list[Line]) -> str:
    head = ['arm', 'seeds', 'mean', 'sd', 'against', 'difference', '95 % CI', 'steps', 'seconds', 'trainable']
    rows = []
    for line in table:
        diverged = sum(not math.isfinite(score) for score in line.scores.values())
        seeds = str(line.summary.n) + (f' ({diverged} diverged)' if diverged else '')
        difference, interval = '', ''
        if line.difference is not None:
            low, high = line.difference.interval
            difference = number(line.difference.mean, signed=True)
            interval = f'{number(low, True)} to {number(high, True)}' if math.isfinite(low) else 'needs two seeds'
        rows.append(
            [line.arm + _point(line.point), seeds, number(line.summary.mean), number(line.summary.sd),
             line.against or '', difference, interval, *costs(line)]
        )  # fmt: skip
    return grid(head, rows)


def _also(plan_runs: PlanRuns, table: list[Line]) -> str:
    task = plan_runs.plan.tasks[table[0].task]
    columns: list[dict[str, str]] = []
    for metric in task.also:
        by_arm = {
            line.arm: {
                seed: task.scale * plan_runs.value(result, 'test', metric) for seed, result in line.results.items()
            }
            for line in table
        }
        cells = {}
        for line in table:
            change = paired(by_arm[line.arm], by_arm[line.against]) if line.against in by_arm else None
            half = f' ± {number(change.half)}' if change and math.isfinite(change.half) else ''
            cells[line.arm] = number(summary(by_arm[line.arm]).mean)
            cells[line.arm] += f' ({number(change.mean, signed=True)}{half})' if change else ''
        columns.append(cells)
    return grid(['arm', *task.also], [[line.arm, *(cells[line.arm] for cells in columns)] for line in table])


def training_loss(result: dict[str, Any]) -> float:
    """Mean training loss of the last tenth of a run's steps; NaN if its log has none.

    It spreads far less over seeds than a score does, so it shows smaller differences.
    """
    points = [(point['step'], point['loss']) for point in result.get('curve', []) if 'loss' in point]
    last = [loss for step, loss in points if step > 0.9 * points[-1][0]]
    return statistics.fmean(last) if last else math.nan


def _losses(table: list[Line]) -> str:
    losses = {line.arm: {seed: training_loss(result) for seed, result in line.results.items()} for line in table}
    rows = []
    for line in table:
        own, control = losses[line.arm], losses.get(line.against or '')
        change = paired(own, control) if control else None
        row = [line.arm, number(summary(own).mean), '', '', '']
        if change is not None and control is not None:
            low, high = change.interval
            below = sum(own[seed] < control[seed] for seed in own if seed in control)
            interval = f'{number(low, True)} to {number(high, True)}' if math.isfinite(low) else ''
            row[2:] = [number(change.mean, signed=True), interval, f'{below} of {change.n}']
        rows.append(row)
    return grid(['arm', 'training loss', 'difference', '95 % CI', 'below in'], rows)


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
