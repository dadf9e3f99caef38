"""Redundancy drawn: over depth, and as heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from refconv_mm.console import label_names, shorten
from ..common.look import GREY, MAP, depth_axis, depth_width, draw_changes, finish, no_ticks, style
from .measure import MEASURES, RANDOM
from .report import LABELS, SENSE

PAGE = 6  # layers in a figure of heat maps


def draw(results: Mapping[str, Any]) -> dict[str, Figure]:
    """By file name; the heat maps in pages."""
    maps, names = results['_heat'], [each['name'] for each in results['checkpoints']]
    figures, layers = dict(redundancy=draw_depth(results)), list(maps)
    for page, start in enumerate(range(0, len(layers), PAGE), start=1):
        part = {layer: maps[layer] for layer in layers[start : start + PAGE]}
        figures[f'redundancy_heat-{page}'] = draw_heat(part, names, results['heat'])
    return figures


def draw_depth(results: Mapping[str, Any]) -> Figure:
    """Every measure over depth: of the first checkpoint, and beside it what changed in the others, layer by layer.

    Where the layers of the checkpoints differ, the measures themselves over relative depth, a line for each checkpoint.
    """
    if RANDOM not in results['mean']:
        return _draw_side_by_side(results)
    rows = [row for row in results['layers'] if row['values']]
    names = [each['name'] for each in results['checkpoints']]
    columns = 2 if len(names) > 1 else 1
    width, layers = depth_width(rows, 7), [row['layer'] for row in rows]
    size = (min(20, columns * width), 11)
    figure, panels = plt.subplots(
        len(MEASURES), columns, figsize=size, sharex=True, squeeze=False, layout='constrained'
    )
    for line, m in zip(panels, MEASURES, strict=True):
        first = [_height(row, row['values'][0], m) for row in rows]
        line[0].plot(first, label=names[0], **style(0))
        look = style(0) | dict(linestyle=':', marker=None, color=GREY)
        line[0].plot([_height(row, row['random'], m) for row in rows], label=RANDOM, **look)
        finish(line[0], f'{_label(m)}  ({SENSE[m]})')
        if m == 'kl_softmax':  # it goes with the scale of the weights, which layers differ in by far
            line[0].set_yscale('log')
        for axes in line[1:]:
            draw_changes(
                axes, [[_height(row, values, m) for values in row['values']] for row in rows], names, _label(m)
            )
    for axes in panels[-1]:
        depth_axis(axes, layers)
        axes.set_xlabel('layers, first to last', fontsize=8)
    for axes in panels[0]:
        axes.legend(fontsize=8, ncols=4)
    return figure


def _draw_side_by_side(results: Mapping[str, Any]) -> Figure:
    """Every measure over relative depth, for nets whose layers differ."""
    rows = [row for row in results['layers'] if row['values']]
    names = [each['name'] for each in results['checkpoints']]
    figure, panels = plt.subplots(len(MEASURES), 1, figsize=(9, 10.5), sharex=True, layout='constrained')
    for axes, m in zip(panels, MEASURES, strict=True):
        for i, name in enumerate(names):
            own = [row for row in rows if row['values'][i]]
            x, look = np.linspace(0, 1, len(own)), style(i)
            axes.plot(x, [_height(row, row['values'][i], m) for row in own], label=name, **look)
            look |= dict(linestyle=':', marker=None)
            axes.plot(x, [_height(row, row['random'], m) for row in own], label=f'{RANDOM} like {name}', **look)
        finish(axes, f'{_label(m)}  ({SENSE[m]})')
        if m == 'kl_softmax':
            axes.set_yscale('log')
    panels[-1].set_xlabel('first layer (0) to last (1) of each net', fontsize=8)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside upper center', ncols=min(2 * len(names), 4), fontsize=9)
    return figure


def _label(m: str) -> str:
    return 'effective rank / largest possible' if m == 'effective_rank' else LABELS[m]


def _height(row: Mapping[str, Any], values: Mapping[str, float], m: str) -> float:
    """A measure as drawn: the rank is divided by the largest possible one, so that layers of all kinds compare."""
    return values[m] / (row['largest_rank'] if m == 'effective_rank' else 1)


def draw_heat(maps: Mapping[str, Sequence[Tensor]], names: Sequence[str], measured: str) -> Figure:
    """Channels against channels: a row of maps for each layer, a column for each checkpoint, one scale a layer."""
    size = (2.5 * len(names) + 1.8, 2.35 * len(maps) + 0.5)
    figure, panels = plt.subplots(len(maps), len(names), figsize=size, squeeze=False, layout='constrained')
    for line, layer, label in zip(panels, maps, label_names(list(maps), 24), strict=True):
        # The diagonal compares a channel with itself; the scale is that of the other pairs, less the top percent.
        off = [matrix[~torch.eye(len(matrix), dtype=torch.bool)] for matrix in maps[layer]]
        top = max((float(values.quantile(0.99)) for values in off), default=1.0)
        top = 1.0 if measured == 'cosine' else top
        for axes, matrix, values, name in zip(line, maps[layer], off, names, strict=True):
            image = axes.imshow(matrix.numpy(), cmap=MAP, vmin=0, vmax=top or 1.0, interpolation='nearest')
            axes.set_title(f'{shorten(name, 16)}: mean shown {float(values.mean()):.3g}', fontsize=8)
            no_ticks(axes)
        line[0].set_ylabel(label, fontsize=8)
        figure.colorbar(image, ax=list(line), shrink=0.85, pad=0.02).ax.tick_params(labelsize=7)
    figure.suptitle(f'{LABELS[measured]} between channels  ({SENSE[measured]})', fontsize=10, wrap=True)
    return figure
