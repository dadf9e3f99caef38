"""The look that the figures share: colours, markers, axes over depth, maps of kernel positions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refconv_mm.console import label_names
from refconv_mm.files.writing import write_whole

# Okabe and Ito's colours, told apart by the colour-blind; the markers differ too, for print.
COLOURS = ('#444444', '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00')
MARKERS = 'os^Dvx'
MAP = 'viridis'
GREY = '#888888'


def style(index: int, size: float = 4.5) -> dict[str, Any]:
    """Colour and hollow marker of the checkpoint number `index`."""
    look = dict(color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)])
    return dict(look, markersize=size, fillstyle='none', linewidth=1.2)


def finish(axes: Axes, title: str, x: str = '', y: str = '', which: Any = 'major') -> None:
    """Title, grid, small ticks and the labels of both axes."""
    axes.set_title(title, loc='left', fontsize=9, wrap=True)
    axes.grid(linewidth=0.3, which=which)
    axes.tick_params(labelsize=8, which='both')
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)


def fit_most(axes: Axes, values: Iterable[float | None]) -> None:
    """Limits of y that show most values well. Those far outside are drawn as triangles at the edge, with their number.

    Args:
        values: all that the axes show.
    """
    known = sorted(value for value in values if value is not None and math.isfinite(value))
    if len(known) < 8:
        return
    low, high = (known[round(part * (len(known) - 1))] for part in (0.1, 0.9))
    reach = max(high - low, 1e-12)
    low, high = max(known[0], low - 1.5 * reach), min(known[-1], high + 1.5 * reach)
    if low == known[0] and high == known[-1]:
        return
    edge = 0.06 * (high - low)
    axes.set_ylim(low - edge, high + edge)
    for line in list(axes.lines):
        points = zip(np.atleast_1d(line.get_xdata()), np.atleast_1d(line.get_ydata()), strict=True)
        outside = [(x, y) for x, y in points if math.isfinite(y) and not low <= y <= high]
        for x, y in outside if line.get_marker() not in (None, 'None') else ():
            up = y > high
            axes.plot([x], [high + edge / 2 if up else low - edge / 2], '^' if up else 'v', markersize=5,
                      color=line.get_color(), clip_on=False, zorder=5)  # fmt: skip
            axes.annotate(f'{y:.3g}', (x, high if up else low), fontsize=6, color=line.get_color(), ha='left',
                          xytext=(4, -3), textcoords='offset points')  # fmt: skip


def draw_changes(axes: Axes, rows: Sequence[Sequence[float]], names: Sequence[str], title: str) -> None:
    """Differences of checkpoints from the first, layer by layer: the lines themselves would lie on each other.

    Args:
        rows: for each layer the values of all checkpoints.
        names: of the checkpoints.
    """
    axes.axhline(0, color=GREY, linewidth=0.8)
    for i, name in enumerate(names[1:], start=1):
        axes.plot([row[i] - row[0] for row in rows], label=name, **style(i))
    fit_most(axes, [value - row[0] for row in rows for value in row[1:]])
    finish(axes, f'{title}: change from {names[0]}')


def depth_axis(axes: Axes, layers: Sequence[str]) -> None:
    """Layers along x, by their short names, first to last; at most 40 of them are named."""
    step = -(-len(layers) // 40)
    axes.tick_params(axis='x', labelbottom=True)
    axes.set_xticks(range(0, len(layers), step), label_names(layers, 26)[::step], rotation=90, fontsize=7)
    axes.set_xlim(-0.5, len(layers) - 0.5)


def depth_width(layers: Sequence[Any], least: float) -> float:
    """Inches that a figure over depth is wide."""
    return max(least, min(14, 4 + 0.3 * len(layers)))


def draw_map(axes: Axes, values: Any, low: float, high: float, colours: str = MAP, form: str = '{:.2f}') -> Any:
    """A map `(KH, KW)` of kernel positions with its numbers in the cells, dark on light and light on dark."""
    image: Any = axes.imshow(values, cmap=colours, vmin=low, vmax=high)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            red, green, blue = image.cmap(image.norm(value))[:3]
            colour = 'black' if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else 'white'
            size = 8 if max(len(values), len(row)) <= 5 else 5
            text = form.format(value)
            text = text if float(text) else '0'  # not -0.00
            axes.text(x, y, text, ha='center', va='center', fontsize=size, color=colour)
    no_ticks(axes)
    return image


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure whole or not at all, and closes it."""
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150))
    plt.close(figure)
    return path


def no_ticks(axes: Axes) -> None:
    """No ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
