"""What came of a plan: tables in Markdown and CSV."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..console import table as grid
from ..files import write_whole
from .book import Book, Run
from .plan import BASELINE, Arm, Point
from .stats import Difference, Summary, paired, summary


class DataError(ValueError):
    """Arms that are to be compared did not see the same data."""


@dataclass
class Line:
    """One arm of one task.

    Attributes:
        scores: the metric of the test split by seed, scaled; NaN where a run diverged.
        results: what the runs recorded, by seed.
        difference: to the arm it is compared with; None if that has no seed in common.
    """

    task: str
    arm: str
    against: str | None
    point: Point
    scores: dict[int, float]
    results: dict[int, dict[str, Any]]
    summary: Summary
    difference: Difference | None = None


def lines(book: Book) -> dict[str, list[Line]]:
    """The finished part of a plan, by task: the baseline, then each arm.

    Raises:
        DataError: runs of one task, seed and round saw different data; says which.
    """
    check_data(book)
    found: dict[str, list[Line]] = {}
    for task in book.plan.tasks:
        arms = [_line(book, task, arm) for arm in book.plan.arms_of(task) if (task, arm.name) in book.pairs]
        table = [line for line in [_baseline(book, task), *arms] if line is not None]
        by_name = {line.arm: line for line in table}
        for line in table:
            if line.against in by_name:
                line.difference = paired(line.scores, by_name[line.against].scores)
        if table:
            found[task] = table
    return found


def check_data(book: Book) -> None:
    """Raises DataError if finished runs of one task, seed and round differ in order or augmentation of the data."""
    groups: dict[tuple[str, int, int], list[tuple[Run, dict[str, Any]]]] = {}
    for run in book.wanted():
        result = book.result(run)
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
            'arms did not see the same data, so their difference would mean nothing:\n  ' + '\n  '.join(problems)
        )


def _baseline(book: Book, task: str) -> Line | None:
    results = {run.seed: book.result(run) for run in book.wanted() if run.task == task and run.arm == BASELINE}
    return _of(book, task, BASELINE, None, (), results)


def _line(book: Book, task: str, arm: Arm) -> Line | None:
    runs = book.reported(task, arm.name) or []
    point = runs[0].point if runs else ()
    return _of(book, task, arm.name, arm.against, point, {run.seed: book.result(run) for run in runs})


def _of(
    book: Book, task: str, arm: str, against: str | None, point: Point, results: dict[int, dict[str, Any] | None]
) -> Line | None:
    done = {seed: result for seed, result in results.items() if result is not None}
    scale = book.plan.tasks[task].scale
    scores = {seed: scale * book.value(result, 'test') for seed, result in done.items()}
    return Line(task, arm, against, point, scores, done, summary(scores)) if done else None


# -- Markdown ----------------------------------------------------------------------------------------------


def markdown(book: Book, found: dict[str, list[Line]], command: str) -> str:
    """The whole report."""
    parts = [
        f'`{command}`',
        'Each arm against the arm named, on the same seeds: same start, same data in the same order with the same '
        'augmentation (compared by hash), same steps. Scores are of the fused model on the test split; sd is that of '
        'a sample, the interval is the 95 % confidence interval of the mean paired difference (t distribution).',
    ]
    for task, table in found.items():
        spec = book.plan.tasks[task]
        better = '' if spec.higher_is_better else ', lower is better'
        parts += [f'## {task}: {spec.metric}{better}', _table(table)]
        if spec.also:
            parts += ['The same runs by other metrics, mean and in brackets the difference:', _also(book, table)]
        if book.plan.grid:
            parts += [f'Tuned on the validation split, seeds {list(book.plan.tune_seeds)}:', _tuning(book, task)]
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
             line.against or '', difference, interval, *_costs(line)]
        )  # fmt: skip
    return grid(head, rows)


def _also(book: Book, table: list[Line]) -> str:
    task = book.plan.tasks[table[0].task]
    columns: list[dict[str, str]] = []
    for metric in task.also:
        by_arm = {
            line.arm: {seed: task.scale * book.value(result, 'test', metric) for seed, result in line.results.items()}
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


def _costs(line: Line) -> list[str]:
    done = [result for result in line.results.values() if not result['diverged']]
    if not done:
        return ['', '', '']
    seconds = sum(result['seconds'] for result in done) / len(done)
    return [str(done[0]['steps']), f'{seconds:.0f}', f'{done[0]["trainable"]:,}']


def _tuning(book: Book, task: str) -> str:
    points, rows, scale = book.plan.points(), [], book.plan.tasks[task].scale
    for name in [name for of, name in book.pairs if of == task]:
        cells = []
        for point in points:
            results = [book.result(Run(task, name, seed, point)) for seed in book.plan.tune_seeds]
            values = {at: scale * book.value(result, 'val') for at, result in enumerate(results) if result}
            chosen = '**' if point == book.chosen(task, name) else ''
            cells.append(f'{chosen}{number(summary(values).mean)}{chosen}' if values else '')
        rows.append([name, *cells])
    return grid(['arm', *(_point(point).strip(' ()') for point in points)], rows)


def _point(point: Point) -> str:
    parts = [f'{name.rpartition(".")[2]}={value}' for name, value in point]
    return f' ({", ".join(parts)})' if point else ''


def number(value: float, signed: bool = False) -> str:
    """Four significant digits at most, '' for none."""
    return '' if not math.isfinite(value) else f'{value:{"+" if signed else ""}.4g}'


# -- files -------------------------------------------------------------------------------------------------


def runs_rows(book: Book) -> list[dict[str, Any]]:
    """Every finished run, those of the tuning too, one a row."""
    rows = []
    for run in book.wanted():
        result = book.result(run)
        if result is None:
            continue
        row = dict(task=run.task, arm=run.arm, seed=run.seed, point=dict(run.point), diverged=result['diverged'])
        row |= {key: result.get(key, '') for key in ('round', 'steps', 'seconds', 'total_seconds', 'trainable')}
        row |= {f'{split}/{name}': value for split, m in result['metrics'].items() for name, value in m.items()}
        row |= dict(order=result.get('data', {}).get('order', ''), folder=str(book.prepare(run).folder))
        rows.append(row)
    return rows


def table_rows(found: dict[str, list[Line]]) -> list[dict[str, Any]]:
    """The lines of the report, one a row."""
    rows = []
    for line in (line for table in found.values() for line in table):
        row = dict(task=line.task, arm=line.arm, point=dict(line.point), n=line.summary.n, mean=line.summary.mean)
        row |= dict(sd=line.summary.sd, against=line.against or '')
        if line.difference is not None:
            low, high = line.difference.interval
            row |= dict(difference=line.difference.mean, sd_of_differences=line.difference.sd, low=low, high=high)
            row |= dict(pairs=line.difference.n)
        steps, seconds, trainable = _costs(line)
        rows.append(row | dict(steps=steps, seconds=seconds, trainable=trainable.replace(',', '')))
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes rows whose keys may differ."""
    names = list(dict.fromkeys(key for row in rows for key in row))

    def write(temporary: str) -> None:
        with open(temporary, 'w', newline='') as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)
    return path
