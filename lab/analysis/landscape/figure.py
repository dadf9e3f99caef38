"""Landscapes drawn: all nets' lines on shared axes, and a map each on shared levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, SymmetricalLogLocator

from ..common.look import GREY, MAP, finish, style

WIDE = 10  # the ratio of losses from which an axis is logarithmic
MOST = 100  # times the lowest loss: what lies higher has one colour in the maps
LEVELS = 15  # of the maps
PLAIN = FuncFormatter(lambda value, _: f'{value:g}')
STEPS = 'distance t: every filter moves by t times its own norm'
SHORT = dict(eval='running statistics, as stored', batch="the batch's statistics")


def draw(results: Mapping[str, Any]) -> dict[str, Figure]:
    """By file name."""
    maps = dict(landscape_map=draw_maps(results)) if results['map_steps'] else {}
    return dict(landscape=draw_lines(results)) | maps


def draw_lines(results: Mapping[str, Any]) -> Figure:
    """The loss along the lines, and the same above each net's own minimum."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout='constrained')
    for i, net in enumerate(results['checkpoints']):
        lines = np.array(net['lines'], dtype=float)
        mean = lines.mean(0)
        for axes, shift in ((left, 0.0), (right, np.nanmin(mean))):
            _draw_net(axes, results['distances'], lines - shift, net['name'], i)
    _scale(left, right, results)
    finish(left, 'task loss', STEPS)
    finish(right, "task loss above the minimum of each one's mean", STEPS)
    count = results['directions']
    spread = f'mean of {count} random directions, lowest to highest shaded' if count > 1 else 'one random direction'
    figure.suptitle(f'{spread}; batch norm: {SHORT[results["bn"]]}', fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=len(labels), fontsize=9)
    return figure


def _scale(left: Axes, right: Axes, results: Mapping[str, Any]) -> None:
    """Logarithmic axes where losses lie far apart, and the amounts of the tables as dotted lines."""
    every = np.array([net['lines'] for net in results['checkpoints']], dtype=float)
    least, amounts = results['amounts'][0], results['amounts']
    beside = right.get_yaxis_transform()
    for amount in amounts:
        right.axhline(amount, color=GREY, linewidth=0.9, linestyle=':', zorder=1)
        right.text(1.01, amount, f'+{amount:.3g}', transform=beside, va='center', fontsize=7, color='#555555')
    if np.nanmin(every) <= 0 or np.nanmax(every) <= WIDE * np.nanmin(every):
        return
    left.set_yscale('log')
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.set_yscale('symlog', linthresh=least, linscale=0.6)
    right.set_ylim(bottom=max(right.get_ylim()[0], -least))
    right.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=least, subs=[1, 2, 5]))
    for axes in (left, right):
        axes.yaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ''))


def _draw_net(axes: Axes, distances: list[float], lines: np.ndarray, name: str, index: int) -> None:
    look = style(index)
    if len(lines) > 1:
        axes.fill_between(distances, lines.min(0), lines.max(0), color=look['color'], alpha=0.15, linewidth=0)
    axes.plot(distances, lines.mean(0), label=name, **look)


def draw_maps(results: Mapping[str, Any], across: int = 3) -> Figure:
    """A contour map for each net; levels and colours are the same in all. Grey is where the loss is not finite."""
    nets, steps = results['checkpoints'], results['map_steps']
    columns = min(across, len(nets))
    rows = -(-len(nets) // columns)
    size = (3.6 * columns + 1.2, 3.7 * rows + 0.7)
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, layout='constrained', sharey=True)
    every = np.array([net['map'] for net in nets], dtype=float)
    levels, norm = levels_of(every)
    extend = 'max' if levels[-1] < np.nanmax(every) else 'neither'
    filled: Any = None
    for axes, net in zip(panels.flat, nets, strict=False):
        values = np.ma.masked_invalid(np.array(net['map'], dtype=float))
        axes.set_facecolor('#bbbbbb')
        filled = axes.contourf(steps, steps, values, levels=levels, norm=norm, cmap=MAP, extend=extend)
        lines = axes.contour(steps, steps, values, levels=levels, colors='white', linewidths=0.5)
        for label in axes.clabel(lines, levels[::2], fmt='%.3g', fontsize=7):
            label.set_path_effects([withStroke(linewidth=1.5, foreground='#333333')])
        axes.plot(0, 0, marker='+', color='#d55e00', markersize=9, markeredgewidth=1.6)
        axes.set_title(f'{net["name"]} (+: {net["centre"]:.3g})', fontsize=10)
        axes.set_aspect('equal')
        axes.tick_params(labelsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.linspace(steps[0], steps[-1], 5))
            axis.set_major_formatter(PLAIN)
        axes.set_xlabel('t along direction 0', fontsize=8)
        axes.set_ylabel('t along direction 1' if axes in panels[:, 0] else '', fontsize=8)
    for axes in list(panels.flat)[len(nets) :]:
        axes.set_axis_off()
    bar = figure.colorbar(filled, ax=panels, shrink=0.85, pad=0.02, format='%.3g', ticks=levels[::2])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(f'task loss, the same levels in all; batch norm: {SHORT[results["bn"]]}', fontsize=10)
    return figure


def levels_of(values: np.ndarray) -> tuple[np.ndarray, Normalize]:
    """Levels from the lowest finite loss to the highest, or to `MOST` times the lowest.

    In equal ratios if these are far apart, else in equal steps.
    """
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if high - low <= 1e-9 * abs(high):
        high = low + 1e-6 + 1e-6 * abs(low)  # flat, and contours need steps
    if low > 0 and high > WIDE * low:
        high = min(high, MOST * low)
        return np.geomspace(low, high, LEVELS), LogNorm(low, high)
    return np.linspace(low, high, LEVELS), Normalize(low, high)
