"""The benchmark's results drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis.common.look import finish, save
from ..analysis.common.text import MIB
from .report import FORMS

COLOURS = dict(plain='#444444', released='#d95f02', refocused='#1b6ca8')
COLOURS |= dict(fused='#1b9e77', folded='#66a61e')


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """`benchmark.png` and `growth.png`, as far as there are results for them."""
    figures = dict(benchmark=(_draw_cases, results.get('cases')), growth=(_draw_growth, results.get('growth')))
    paths = []
    for name, (draw_one, rows) in figures.items():
        if rows:
            paths.append(save(draw_one(rows), folder / f'{name}.png'))
    return paths


def _draw_cases(cases: list[dict[str, Any]]) -> Figure:
    run = [case for case in cases if 'inference' in case]
    heights = [len(cases), max(1, len(run))]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 2.2 + 0.28 * sum(heights)), gridspec_kw=dict(height_ratios=heights), layout='constrained'
    )
    _dots(top, cases, 'training', FORMS)
    top.set_title('Training step against the plain model (median and quartiles)', loc='left', fontsize=10)
    _dots(bottom, run, 'inference', ['refocused', 'fused', 'folded'])
    bottom.set_title('Forward pass against the plain model', loc='left', fontsize=10)
    return figure


def _dots(axes: Axes, cases: list[dict[str, Any]], part: str, names: Sequence[str]) -> None:
    axes.axvline(1, color='#444444', linewidth=1)
    axes.axvline(1.05, color='#444444', linewidth=0.8, linestyle=':')
    for shift, name in enumerate(names):
        shown = [(row, case[part][name]['ratio']) for row, case in enumerate(cases) if name in case[part]]
        if shown:
            rows, ratios = zip(*shown, strict=True)
            median, low, high = zip(*ratios, strict=True)
            error = np.subtract(median, low), np.subtract(high, median)
            place = [row + 0.18 * (shift - (len(names) - 1) / 2) for row in rows]
            axes.errorbar(median, place, xerr=error, fmt='o', markersize=4.5, color=COLOURS[name], label=name)
    axes.set_yticks(range(len(cases)), [f'{case["model"]}, batch {case["batch"]}' for case in cases], fontsize=8)
    axes.set_ylim(len(cases) - 0.5, -0.5)  # the first on top
    axes.tick_params(axis='x', labelsize=8)
    axes.grid(axis='x', linewidth=0.3)
    axes.set_xlabel('seconds / seconds of the plain model, same round', fontsize=8)
    axes.legend(
        fontsize=8, loc='lower right', bbox_to_anchor=(1, 1), ncols=len(names), frameon=False, borderaxespad=0.2
    )


def _draw_growth(rows: list[dict[str, Any]]) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout='constrained')
    columns = [('parameters', 1, 'trainable parameters'), ('peak_bytes', MIB, 'peak of a step, MiB'),
               ('seconds', 1e-3, 'training step, ms')]  # fmt: skip
    for axis, (key, unit, label) in zip(axes, columns, strict=True):
        for form, style in (('plain', 's--'), ('released', 'o-'), ('refocused', '^-')):
            line = [row for row in rows if row['form'] == form]
            x, y = [row['channels'] for row in line], [row[key] / unit for row in line]
            axis.loglog(x, y, style, color=COLOURS[form], label=form, markersize=5, fillstyle='none')
        finish(axis, label, 'channels of the depthwise 3x3 layer')
    axes[0].legend(fontsize=9)
    return figure
