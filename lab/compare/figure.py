"""The figure of a comparison: every run, joined by seed, and the differences with their intervals.

The import needs matplotlib, so only the function that draws the figure imports this module.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import SymmetricalLogLocator

from refconv_mm.files.writing import write_whole
from .plan import BASELINE, Plan
from .report import Line

GREY, BLUE, ORANGE = '#888888', '#1b6ca8', '#d95f02'


def draw(plan: Plan, found: dict[str, list[Line]], path: Path) -> Path:
    """One row a task: scores to the left, paired differences to the right.

    Args:
        found: of :func:`lab.compare.report.report_lines`.
    """
    heights = [1.0 + 0.32 * len(table) for table in found.values()]
    figure, axes = plt.subplots(
        len(found), 2, figsize=(11, sum(heights)), squeeze=False, layout='constrained',
        gridspec_kw=dict(height_ratios=heights),
    )  # fmt: skip
    for (left, right), (task, table) in zip(axes, found.items(), strict=True):
        _scores(left, table)
        _differences(right, table)
        left.set_title(f'{task}: {plan.tasks[task].metric}, every run', loc='left', fontsize=9)
        right.set_title('difference to the arm compared with', loc='left', fontsize=9)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150))
    plt.close(figure)
    return path


def _scores(axes: Axes, table: list[Line]) -> None:
    arms = [row for row, line in enumerate(table) if line.arm != BASELINE]
    for seed in {seed for row in arms for seed in table[row].scores}:
        known = [(table[row].scores[seed], row) for row in arms if seed in table[row].scores]
        axes.plot(*zip(*known, strict=True), color=GREY, linewidth=0.5, alpha=0.5, zorder=1)
    labels = [line.arm for line in table]
    for row, line in enumerate(table):
        if line.arm == BASELINE and _far_off(line, [table[arm] for arm in arms]):
            labels[row] += f' ({line.summary.mean:.4g}, outside)'
            continue
        values = [value for value in line.scores.values() if math.isfinite(value)]
        colour = GREY if line.arm == BASELINE else BLUE
        axes.plot(values, [row] * len(values), 'o', markersize=4, color=colour, alpha=0.8, zorder=2)
        if values:
            axes.plot([line.summary.mean], [row], '|', markersize=16, color=ORANGE, zorder=3)
    _rows(axes, labels)


def _far_off(baseline: Line, arms: list[Line]) -> bool:
    """Whether the score of a baseline is so far from those of its arms that it would hide their differences."""
    values = [value for line in arms for value in line.scores.values() if math.isfinite(value)]
    span = max(values, default=0.0) - min(values, default=0.0)
    return span > 0 and min(abs(baseline.summary.mean - value) for value in values) >= 2 * span


def _differences(axes: Axes, table: list[Line]) -> None:
    axes.axvline(0, color='black', linewidth=0.8)
    by_name, reach, halves = {line.arm: line for line in table}, 0.0, []
    for row, line in enumerate(table):
        if line.difference is None or line.against is None:
            continue
        control = by_name[line.against].scores
        each = [line.scores[seed] - control[seed] for seed in line.scores if seed in control]
        axes.plot(each, [row] * len(each), 'o', markersize=3.5, color=BLUE, alpha=0.6)
        half = line.difference.half
        error = [[half], [half]] if math.isfinite(half) else None
        halves += [half] if math.isfinite(half) and half > 0 else []
        reach = max([reach, *(abs(value) for value in each if math.isfinite(value))])
        axes.errorbar([line.difference.mean], [row], xerr=error, fmt='|', markersize=14, color=ORANGE, capsize=3)
    # An arm that failed must not hide the differences of the others.
    if halves and reach > 20 * min(halves):
        axes.set_xscale('symlog', linthresh=2 * min(halves))
        axes.set_xlabel('symmetric logarithmic scale', fontsize=7)
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=2 * min(halves), subs=[1, 3]))
        axes.xaxis.set_major_formatter('{x:g}')
    _rows(axes, [f'{line.arm} - {line.against}' if line.difference else '' for line in table])


def _rows(axes: Axes, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis='x', labelsize=8)
    axes.grid(axis='x', linewidth=0.3)
