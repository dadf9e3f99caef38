"""The figures of the analyses; each function returns one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refconv_mm.console import shorten
from refconv_mm.files.writing import write_whole

from .redundancy import MEASURES, RANDOM
from .report import LABELS
from .skeleton import REGIONS

# Okabe and Ito's colours, told apart by the colour-blind; the markers differ too, for print.
COLOURS = ('#444444', '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00')
MARKERS = 'os^Dvx'
GREY = '#888888'
PREDICTIONS = dict(
    direction='direction: energy of the update along eigenvectors, with eigenvalues',
    position='position: size of the update at each position, with the diagonal',
    growth='growth of mean |w| at each position, with the diagonal',
    exponent='exponent of that energy over the eigenvalue (refocusing adds 2 to the control)',
)


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure whole or not at all, and closes it."""
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150))
    plt.close(figure)
    return path


def style(index: int) -> dict[str, Any]:
    """Colour and hollow marker of the checkpoint number `index`."""
    look = dict(color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)])
    return dict(look, markersize=4.5, fillstyle='none', linewidth=1.2)


def finish(axes: Axes, title: str, x: str = '', y: str = '') -> None:
    """Title, grid, small ticks and the labels of both axes."""
    axes.set_title(title, loc='left', fontsize=9, wrap=True)
    axes.grid(linewidth=0.3)
    axes.tick_params(labelsize=8, which='both')
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)


def depth_axis(axes: Axes, layers: Sequence[str]) -> None:
    """Layers along x, by names without what begins or ends all of them, first to last; at most 40 of them are named."""
    step, parts = -(-len(layers) // 40), [layer.split('.') for layer in layers]
    least = min(map(len, parts))
    head = next((i for i in range(least) if len({part[i] for part in parts}) > 1), least)
    tail = next((i for i in range(least - head) if len({part[-1 - i] for part in parts}) > 1), least - head)
    names = ['.'.join(part[head : len(part) - tail] or part) for part in parts]
    axes.tick_params(axis='x', labelbottom=True)
    ticks = [shorten(name, 26) for name in names[::step]]
    axes.set_xticks(range(0, len(layers), step), ticks, rotation=90, fontsize=7)
    axes.set_xlim(-0.5, len(layers) - 0.5)


def depth_width(layers: Sequence[Any], least: float) -> float:
    """Inches that a figure over depth is wide."""
    return max(least, min(14, 4 + 0.3 * len(layers)))


def draw_changes(axes: Axes, rows: Sequence[Sequence[float]], names: Sequence[str], title: str) -> None:
    """Differences of checkpoints from the first, layer by layer: the lines themselves would lie on each other.

    Args:
        rows: for each layer the values of all checkpoints.
        names: of the checkpoints.
    """
    axes.axhline(0, color=GREY, linewidth=0.8)
    for i, name in enumerate(names[1:], start=1):
        axes.plot([row[i] - row[0] for row in rows], label=name, **style(i))
    finish(axes, f'{title}: change from {names[0]}')


def redundancy(results: Mapping[str, Any]) -> Figure:
    """Every measure over depth: of the first checkpoint, and beside it the changes in the others, layer by layer."""
    rows, names = [row for row in results['layers'] if row['values']], [each['name'] for each in results['checkpoints']]
    columns = 2 if len(names) > 1 else 1
    size = (min(20, columns * depth_width(rows, 7)), 11)
    figure, panels = plt.subplots(
        len(MEASURES), columns, figsize=size, sharex=True, squeeze=False, layout='constrained'
    )
    for line, m in zip(panels, MEASURES, strict=True):
        # The rank is divided by the largest possible one, so that layers of all kinds compare.
        most = [row['largest_rank'] if m == 'effective_rank' else 1 for row in rows]
        values = [[value[m] / top for value in row['values']] for row, top in zip(rows, most, strict=True)]
        line[0].plot([row[0] for row in values], label=names[0], **style(0))
        random = [row['random'][m] / top for row, top in zip(rows, most, strict=True)]
        line[0].plot(random, ':', color=GREY, label=RANDOM)
        finish(line[0], LABELS[m] + ' / largest possible' * (m == 'effective_rank'))
        if m == 'kl_softmax':  # it goes with the scale of the weights, which layers differ in by far
            line[0].set_yscale('log')
        for axes in line[1:]:
            draw_changes(axes, values, names, LABELS[m])
    for axes in panels[-1]:
        depth_axis(axes, [row['layer'] for row in rows])
    for axes in panels[0]:
        axes.legend(fontsize=8, ncols=4)
    return figure


def skeleton(results: Mapping[str, Any]) -> Figure:
    """The mean map of each checkpoint for the most frequent kernel size, and the regions over depth."""
    names, rows = [each['name'] for each in results['checkpoints']], results['layers']
    size, part = max(results['net'].items(), key=lambda item: item[1][names[0]]['layers'])
    figure = plt.figure(figsize=(max(2.2 * len(names), 2 * depth_width(rows, 6)), 9), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.4, 6.6])
    above, below = parts
    maps = [np.array(part[name]['map']) for name in names]
    for axes, name, each in zip(above.subplots(1, len(names), squeeze=False)[0], names, maps, strict=True):
        _draw_map(axes, each, max(map(np.max, maps)))
        axes.set_title(name, fontsize=9)
    above.suptitle(f'mean |w| at each position (1: even), {part[names[0]]["layers"]} layers of {size}', fontsize=10)
    panels = below.subplots(len(REGIONS), 2 if len(names) > 1 else 1, sharex=True, squeeze=False)
    for line, region in zip(panels, REGIONS, strict=True):
        values = [[row['values'][name][region]['relative'] for name in names] for row in rows]
        line[0].plot([row[0] for row in values], label=names[0], **style(0))
        finish(line[0], f'{region}: mean |w| (1: as in an even kernel)')
        for axes in line[1:]:
            draw_changes(axes, values, names, region)
    for axes in panels[-1]:
        depth_axis(axes, [row['layer'] for row in rows])
    for axes in panels[0]:
        axes.legend(fontsize=8, ncols=4)
    return figure


def _draw_map(axes: Axes, values: np.ndarray, high: float) -> None:
    """A map `(KH, KW)` of kernel positions with its numbers in the cells."""
    axes.imshow(values, vmin=0, vmax=high)
    for (y, x), value in np.ndenumerate(values):
        colour = 'black' if value > 0.6 * high else 'white'
        axes.text(x, y, f'{value:.2f}', ha='center', va='center', fontsize=8 if len(values) < 6 else 5, color=colour)
    axes.set_xticks([])
    axes.set_yticks([])


def theory(results: Mapping[str, Any]) -> Figure:
    """The predictions over depth, with the band of chance, and the energies along the eigenvectors."""
    layers, names = results['layers'], list(results['mean'])
    figure = plt.figure(figsize=(depth_width(layers, 8), 12), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=[8.4, 3.6])
    above, below = parts
    panels = above.subplots(len(PREDICTIONS), 1, sharex=True)
    chance = np.array([1.96 / math.sqrt(max(1, len(row['gram']['values']) - 1)) for row in layers])
    for axes, (m, title) in zip(panels, PREDICTIONS.items(), strict=True):
        axes.axhline(0, color=GREY, linewidth=0.8)
        if m != 'exponent':
            label = '95 % of random updates of one group'
            axes.fill_between(range(len(layers)), -chance, chance, color='#dddddd', linewidth=0, label=label)
            axes.set_ylim(-1.08, 1.08)
        for i, name in enumerate(names, start=1):
            values = [(row['after'][name] or {}).get(m) for row in layers]
            axes.plot([np.nan if value is None else value for value in values], label=name, **style(i))
        finish(axes, title)
        axes.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    depth_axis(panels[-1], [row['layer'] for row in layers])
    sizes = [row['size'] for row in layers]
    size = max(dict.fromkeys(sizes), key=sizes.count)  # only maps of one size can be averaged
    rows = [row for row in layers if row['size'] == size]
    _draw_energy(below.subplots(), rows, names)
    return figure


def _draw_energy(axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    values = np.mean([row['gram']['values'] for row in rows], axis=0)
    axes.semilogy(range(1, len(values) + 1), values, '--', color=GREY, label='eigenvalue')
    for i, name in enumerate(names, start=1):
        if changed := [row['after'][name]['energy'] for row in rows if row['after'][name]]:
            axes.semilogy(range(1, len(values) + 1), np.mean(changed, axis=0), label=name, **style(i))
    title = f'shares along the eigenvectors, {len(rows)} layers of {rows[0]["size"]}'
    finish(axes, title, 'eigenvector, largest eigenvalue first', "share of the update's energy")
    axes.legend(fontsize=8)


def landscape(results: Mapping[str, Any]) -> Figure:
    """The loss along the lines, mean and range over the directions, and the same above each net's own centre."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), layout='constrained')
    for i, net in enumerate(results['checkpoints']):
        for axes, shift in zip(panels, (0.0, net['centre']), strict=True):
            lines = np.array(net['lines']) - shift
            axes.fill_between(net['distances'], lines.min(0), lines.max(0), color=style(i)['color'], alpha=0.15)
            axes.plot(net['distances'], lines.mean(0), label=net['name'], **style(i))
    for axes, title in zip(panels, ('task loss', "task loss above each one's own"), strict=True):
        finish(axes, title, 'distance t: every filter moves by t times its own norm')
    panels[0].legend(fontsize=9)
    return figure
