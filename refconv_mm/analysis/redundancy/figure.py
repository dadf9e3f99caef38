"""Redundancy drawn: over depth, and as heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from ..common.look import GREY, MAP, depth_axis, depth_width, finish, no_ticks, short_names, style
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
    """Every measure over depth, a line for each checkpoint; over relative depth where their layers differ."""
    rows = [row for row in results['layers'] if row['values']]
    names = [each['name'] for each in results['checkpoints']]
    matched = RANDOM in results['mean']
    width = depth_width(rows, 7) if matched else 9
    figure, panels = plt.subplots(len(MEASURES), 1, figsize=(width, 10.5), sharex=True, layout='constrained')
    for axes, m in zip(panels, MEASURES, strict=True):
        for i, name in enumerate(names):
            own = [row for row in rows if row['values'][i]]
            x = range(len(own)) if matched else np.linspace(0, 1, len(own))
            look = style(i)
            axes.plot(x, [_height(row, row['values'][i], m) for row in own], label=name, **look)
            if not matched or i == len(names) - 1:
                look |= dict(linestyle=':', marker=None, color=GREY if matched else look['color'])
                label = RANDOM if matched else f'{RANDOM} like {name}'
                axes.plot(x, [_height(row, row['random'], m) for row in own], label=label, **look)
        label = 'effective rank / largest possible' if m == 'effective_rank' else LABELS[m]
        finish(axes, f'{label}  ({SENSE[m]})')
        if m == 'kl_softmax':  # it goes with the scale of the weights, which layers differ in by far
            axes.set_yscale('log')
    if matched:
        depth_axis(panels[-1], [row['layer'] for row in rows])
    panels[-1].set_xlabel('layers, first to last' if matched else 'first layer (0) to last (1) of each net', fontsize=8)
    columns = len(names) + 1 if matched else 2 * len(names)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside upper center', ncols=min(columns, 4), fontsize=9)
    return figure


def _height(row: Mapping[str, Any], values: Mapping[str, float], m: str) -> float:
    """A measure as drawn: ranks of depthwise and dense layers compare only as shares of what is possible."""
    return values[m] / (row['largest_rank'] if m == 'effective_rank' else 1)


def draw_heat(maps: Mapping[str, Sequence[Tensor]], names: Sequence[str], measured: str) -> Figure:
    """Channels against channels: a row of maps for each layer, a column for each checkpoint, one scale a layer."""
    size = (2.5 * len(names) + 1.8, 2.35 * len(maps) + 0.5)
    figure, panels = plt.subplots(len(maps), len(names), figsize=size, squeeze=False, layout='constrained')
    for line, layer, label in zip(panels, maps, short_names(list(maps)), strict=True):
        # The diagonal compares a channel with itself; the scale is that of the other pairs, less the top percent.
        off = [matrix[~torch.eye(len(matrix), dtype=torch.bool)] for matrix in maps[layer]]
        top = max((float(values.quantile(0.99)) for values in off), default=1.0)
        top = 1.0 if measured == 'cosine' else top
        for axes, matrix, values, name in zip(line, maps[layer], off, names, strict=True):
            image = axes.imshow(matrix.numpy(), cmap=MAP, vmin=0, vmax=top or 1.0, interpolation='nearest')
            axes.set_title(f'{name}: mean shown {float(values.mean()):.3g}', fontsize=8)
            no_ticks(axes)
        line[0].set_ylabel(label, fontsize=8)
        figure.colorbar(image, ax=list(line), shrink=0.85, pad=0.02).ax.tick_params(labelsize=7)
    figure.suptitle(f'{LABELS[measured]} between channels  ({SENSE[measured]})', fontsize=10)
    return figure
