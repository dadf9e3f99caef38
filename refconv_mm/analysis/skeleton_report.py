"""Skeletons as tables, a figure of the net and one of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..console import table
from ..files import check_free
from .kernels import KernelSet
from .outputs import MAP, checkpoint_list, depth_axis, numbers, short_names, style, write_results
from .skeleton import REGIONS, WEIGHTINGS, measure

FILES = ('skeleton.md', 'skeleton.json', 'skeleton.png', 'skeleton_layers.png')
ACROSS = 9  # layers in a line of the figure of layers


def run(sets: Sequence[KernelSet], out_dir: Path, command: str, force: bool = False) -> list[Path]:
    """Measures matched checkpoints and writes `skeleton.md`, `.json`, `.png` and `skeleton_layers.png`.

    Args:
        command: named in the report.

    Returns:
        The files written.

    Raises:
        FileExistsError: a file is there and `force` is False; nothing was measured.
        ValueError: no layer has a skeleton.
    """
    check_free(out_dir, FILES, force)
    results = dict(command=command, **measure(sets))
    figures = {'skeleton.png': draw_net(results), 'skeleton_layers.png': draw_layers(results)}
    return write_results(out_dir, 'skeleton', results, report(results), figures)


def report(results: Mapping[str, Any]) -> str:
    """All tables, Markdown."""
    names = [each['name'] for each in results['checkpoints']]
    sections = ['# Skeleton of kernels', f'`{results["command"]}`']
    sections.append(checkpoint_list(results['checkpoints']))
    sections.append('Magnitude by region: share of the whole, and in brackets relative to an even kernel (1).')
    for weighting in WEIGHTINGS:
        told = 'as it is' if weighting == 'layer' else 'every slice scaled to the same mean magnitude'
        rows = [
            (size, part[name]['layers'], name, *(_cell(part[name][weighting][region]) for region in REGIONS))
            for size, part in results['net'].items()
            for name in names
        ]
        sections += [f'## The net, {told}', table(['kernel', 'layers', 'checkpoint', *REGIONS], rows)]
    for region in REGIONS:
        rows = [
            (row['layer'], row['kernel'], *(_cell(row['values'][name]['layer'][region]) for name in names))
            for row in results['layers']
        ]
        sections += [f'## {region.capitalize()} by layer', table(['layer', 'kernel', *names], rows)]
    if results['skipped']:
        skipped = '; '.join(f'{layer} ({reason})' for layer, reason in results['skipped'].items())
        sections.append(f'Not measured: {skipped}')
    return '\n\n'.join(sections) + '\n'


def _cell(part: Mapping[str, float]) -> str:
    return f'{100 * part["share"]:.1f} % ({part["relative"]:.2f})'


def draw_net(results: Mapping[str, Any]) -> Figure:
    """Mean maps of each kernel size, what changed in them, and the regions over depth."""
    names = [each['name'] for each in results['checkpoints']]
    sizes, columns = list(results['net']), 2 * len(names) - 1
    width = max(2.1 * columns, min(14, 4 + 0.3 * len(results['layers'])), 6)
    figure = plt.figure(figsize=(width, 2.4 * len(sizes) + 6.6), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.4 * len(sizes), 6.6])
    upper, lower = parts
    panels = upper.subplots(len(sizes), columns, squeeze=False)
    for line, size in zip(panels, sizes, strict=True):
        maps = {name: np.array(results['net'][size][name]['layer']['map']) for name in names}
        _draw_maps(line, maps, f'{size}, mean of {results["net"][size][names[0]]["layers"]} layers')
    upper.suptitle('mean |w| at each position (1: even), and what changed', fontsize=10)
    lines = lower.subplots(len(REGIONS), 1, sharex=True)
    for axes, region in zip(lines, REGIONS, strict=True):
        axes.axhline(1, color='#888888', linewidth=0.8, linestyle=':')
        for i, name in enumerate(names):
            values = [row['values'][name]['layer'][region]['relative'] for row in results['layers']]
            axes.plot(values, label=name, linewidth=1.2, markersize=4.5, fillstyle='none', **style(i))
        axes.set_title(f'{region}: mean |w| (1: as in an even kernel)', loc='left', fontsize=9)
        axes.grid(linewidth=0.3)
        axes.tick_params(labelsize=8)
    depth_axis(lines[-1], [row['layer'] for row in results['layers']])
    lower.legend(*lines[0].get_legend_handles_labels(), loc='outside upper center', ncols=len(names), fontsize=9)
    return figure


def _draw_maps(line: Sequence[Any], maps: Mapping[str, np.ndarray], label: str) -> None:
    """A row of panels: every checkpoint's map, then the differences of the others from the first."""
    first, names = next(iter(maps.values())), list(maps)
    top = max(values.max() for values in maps.values())
    text = 8 if max(first.shape) <= 5 else 5
    changes = {f'{name} - {names[0]}': maps[name] - first for name in names[1:]}
    reach = max([abs(change).max() for change in changes.values()] + [0.05])  # less than that should look like nothing
    for axes, (title, values) in zip(line, {**maps, **changes}.items(), strict=True):
        if title in changes:
            axes.imshow(values, cmap='PuOr_r', vmin=-reach, vmax=reach)
        else:
            axes.imshow(values, cmap=MAP, vmin=0, vmax=top)
        numbers(axes, values.tolist(), '{:+.2f}' if title in changes else '{:.2f}', text)
        axes.set_title(title, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    line[0].set_ylabel(label, fontsize=8)


def draw_layers(results: Mapping[str, Any]) -> Figure:
    """The map of every layer, a row for each checkpoint, some layers to a line."""
    names, layers = [each['name'] for each in results['checkpoints']], results['layers']
    across = min(ACROSS, len(layers))
    blocks = -(-len(layers) // across)
    size = (1.25 * across + 1, (1.2 * len(names) + 0.35) * blocks + 0.6)
    figure, panels = plt.subplots(blocks * len(names), across, figsize=size, squeeze=False, layout='constrained')
    top = max(np.max(row['values'][name]['layer']['map']) for row in layers for name in names)
    image = None
    for place, (row, label) in enumerate(zip(layers, short_names([row['layer'] for row in layers]), strict=True)):
        for i, name in enumerate(names):
            axes = panels[place // across * len(names) + i, place % across]
            image = axes.imshow(row['values'][name]['layer']['map'], cmap=MAP, vmin=0, vmax=top)
            if i == 0:
                axes.set_title(label if len(label) <= 18 else f'...{label[-15:]}', fontsize=7)
            if place % across == 0:
                axes.set_ylabel(name, fontsize=8)
    for axes in panels.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(bool(axes.images))
    assert image is not None
    figure.colorbar(image, ax=panels, shrink=0.6, pad=0.02).ax.tick_params(labelsize=7)
    figure.suptitle('mean |w| at each position, layer by layer (1: even)', fontsize=10)
    return figure
