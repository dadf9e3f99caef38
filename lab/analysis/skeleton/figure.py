"""Skeletons drawn: the net, and its layers one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from refconv_mm.console import label_names, shorten
from ..common.look import (
    GREY,
    MAP,
    depth_axis,
    depth_width,
    draw_changes,
    draw_map,
    finish,
    no_ticks,
    style,
)
from .measure import REGIONS

ACROSS = 9  # layers in a line of the figure of layers


def draw(results: Mapping[str, Any]) -> dict[str, Figure]:
    """By file name."""
    return dict(skeleton=draw_net(results), skeleton_layers=draw_layers(results))


def draw_net(results: Mapping[str, Any]) -> Figure:
    """Mean maps of each kernel size, what changed in them, and the regions over depth."""
    names = [each['name'] for each in results['checkpoints']]
    sizes, columns = list(results['net']), 2 * len(names) - 1
    heights = [2.4 * len(sizes), 6.6]
    width = max(2.1 * columns, min(20, (1 + (len(names) > 1)) * depth_width(results['layers'], 6)))
    figure = plt.figure(figsize=(width, sum(heights)), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    upper, lower = parts
    for line, size in zip(upper.subplots(len(sizes), columns, squeeze=False), sizes, strict=True):
        maps = {name: np.array(results['net'][size][name]['layer']['map']) for name in names}
        _draw_maps(line, maps, f'{size}, mean of {results["net"][size][names[0]]["layers"]} layers')
    upper.suptitle('mean |w| at each position (1: even), and what changed', fontsize=10)
    rows = results['layers']
    panels = lower.subplots(len(REGIONS), 2 if len(names) > 1 else 1, sharex=True, squeeze=False)
    for line, region in zip(panels, REGIONS, strict=True):
        values = [[row['values'][name]['layer'][region]['relative'] for name in names] for row in rows]
        line[0].axhline(1, color=GREY, linewidth=0.8, linestyle=':')
        line[0].plot([row[0] for row in values], label=names[0], **style(0))
        finish(line[0], f'{region}: mean |w| (1: as in an even kernel)')
        for axes in line[1:]:
            draw_changes(axes, values, names, region)
    for axes in panels[-1]:
        depth_axis(axes, [row['layer'] for row in rows])
    for axes in panels[0]:
        axes.legend(fontsize=8, ncols=4)
    return figure


def _draw_maps(line: Sequence[Any], maps: Mapping[str, np.ndarray], label: str) -> None:
    """A row of panels: every checkpoint's map, then the differences of the others from the first."""
    first, names = next(iter(maps.values())), list(maps)
    top = max(values.max() for values in maps.values())
    changes = {f'{shorten(name, 13)} - {shorten(names[0], 13)}': maps[name] - first for name in names[1:]}
    reach = max([abs(change).max() for change in changes.values()] + [0.05])  # less than that should look like nothing
    for axes, (title, values) in zip(line, [*maps.items(), *changes.items()], strict=True):
        if title in changes:
            draw_map(axes, values, -reach, reach, 'PuOr_r', '{:+.2f}')
        else:
            draw_map(axes, values, 0, top)
        axes.set_title(shorten(title, 29), fontsize=9)
    line[0].set_ylabel(label, fontsize=8)


def draw_layers(results: Mapping[str, Any]) -> Figure:
    """The map of every layer, a row for each checkpoint, some layers to a line."""
    names, layers = [each['name'] for each in results['checkpoints']], results['layers']
    across = min(ACROSS, len(layers))
    blocks = -(-len(layers) // across)
    size = (1.25 * across + 1, (1.2 * len(names) + 0.35) * blocks + 0.6)
    figure, panels = plt.subplots(blocks * len(names), across, figsize=size, squeeze=False, layout='constrained')
    top = max(np.max(row['values'][name]['layer']['map']) for row in layers for name in names)
    for place, (row, label) in enumerate(zip(layers, label_names([row['layer'] for row in layers], 18), strict=True)):
        for i, name in enumerate(names):
            axes = panels[place // across * len(names) + i, place % across]
            image = axes.imshow(row['values'][name]['layer']['map'], cmap=MAP, vmin=0, vmax=top)
            if i == 0:
                axes.set_title(label, fontsize=7)
            if place % across == 0:
                axes.set_ylabel(name, fontsize=8)
    for axes in panels.flat:
        no_ticks(axes)
        axes.set_frame_on(bool(axes.images))
    figure.colorbar(image, ax=panels, shrink=0.6, pad=0.02).ax.tick_params(labelsize=7)
    figure.suptitle('mean |w| at each position, layer by layer (1: even)', fontsize=10, wrap=True)
    return figure
