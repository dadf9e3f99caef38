"""Costs of several models drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..common.look import COLOURS, GREY
from ..common.text import three
from .report import MEASURES, UNITS


def draw(results: Mapping[str, Any]) -> dict[str, Figure]:
    """A panel of bars for each measure, a bar for each model; times with their quartiles."""
    rows, first = results['models'], results['models'][0]['name']
    size = (12, 1.1 + 2 * (0.7 + 0.34 * len(rows)))
    figure, panels = plt.subplots(2, 3, figsize=size, sharey=True, layout='constrained')
    for axes, (key, title) in zip(panels.flat, MEASURES.items(), strict=True):
        ratios = None if key in UNITS else [row[key]['ratio'] for row in rows]
        if ratios is None:
            values, error = [row[key] / UNITS[key] for row in rows], None
        else:
            values = [median for median, _, _ in ratios]
            error = [[m - low for m, low, _ in ratios], [high - m for m, _, high in ratios]]
            title = f'{title} / {first}'
            axes.axvline(1, color=GREY, linewidth=0.8)
        colours = [COLOURS[0]] + [COLOURS[1]] * (len(rows) - 1)
        bars = axes.barh(range(len(rows)), values, xerr=error, color=colours, height=0.62, ecolor=COLOURS[2])
        axes.bar_label(bars, labels=[three(value) for value in values], padding=3, fontsize=8)
        axes.set_title(title, loc='left', fontsize=9)
        axes.set_xlim(0, 1.2 * max(values))
        axes.set_yticks(range(len(rows)), [row['name'] for row in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)  # the first on top
        axes.tick_params(axis='x', labelsize=8)
        axes.grid(axis='x', linewidth=0.3)
        axes.set_axisbelow(True)
    return dict(cost=figure)
