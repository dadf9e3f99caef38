"""Redundancy as tables, a figure over depth and heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from ..console import table
from ..files import check_free
from .kernels import KernelSet
from .outputs import MAP, checkpoint_list, depth_axis, short_names, style, write_results
from .redundancy import MEASURES, RANDOM, measure

PAGE = 6  # layers in a figure of heat maps
LABELS = dict(
    kl_softmax='KL, softmax', kl_unit='KL, unit softmax', kl_magnitude='KL, magnitudes', cosine='cosine',
    effective_rank='effective rank',
)  # fmt: skip
SENSE = dict(
    kl_softmax='higher: less redundant (and: larger weights)', kl_unit='higher: less redundant',
    kl_magnitude='higher: less redundant', cosine='lower: less redundant', effective_rank='higher: less redundant',
)  # fmt: skip


def run(
    sets: Sequence[KernelSet], out_dir: Path, command: str, force: bool = False,
    max_channels: int = 1024, seed: int = 0, heat: str = 'kl_magnitude',
) -> list[Path]:  # fmt: skip
    """Measures checkpoints and writes `redundancy.md`, `.json`, `.png` and `redundancy_heat-*.png`.

    Args:
        command: named in the report.
        max_channels, seed, heat: as in :func:`refconv_mm.analysis.redundancy.measure`.

    Returns:
        The files written.

    Raises:
        FileExistsError: a file is there and `force` is False; nothing was measured.
        ValueError: as :func:`refconv_mm.analysis.redundancy.measure`.
    """
    pages = range(1, -(-len(sets[0].kernels) // PAGE) + 1)
    heats = [f'redundancy_heat-{page}.png' for page in pages]
    check_free(out_dir, ['redundancy.md', 'redundancy.json', 'redundancy.png', *heats], force)
    results, maps = measure(sets, max_channels, seed, heat)
    results = dict(command=command, **results)
    figures = {'redundancy.png': draw_depth(results)}
    layers = list(maps)
    for page, name in zip(pages, heats, strict=True):
        if part := layers[(page - 1) * PAGE : page * PAGE]:
            figures[name] = draw_heat({layer: maps[layer] for layer in part}, [each.name for each in sets], heat)
    return write_results(out_dir, 'redundancy', results, report(results), figures)


def report(results: Mapping[str, Any]) -> str:
    """All tables, Markdown."""
    names = [each['name'] for each in results['checkpoints']]
    mean = [(name, *(_short(part[m]) for m in MEASURES)) for name, part in results['mean'].items()]
    sections = ['# Redundancy of channels', f'`{results["command"]}`', checkpoint_list(results['checkpoints'])]
    sections.append('\n'.join(f'- {LABELS[m]}: {MEASURES[m]}.' for m in MEASURES))
    sections.append(
        f'Of a layer at most {results["max_channels"]} channels, a sample of seed {results["seed"]}, the same in every '
        f'checkpoint. Channels that do not know of each other are not redundant either: see {RANDOM}.'
    )
    if RANDOM not in results['mean']:
        sections.append(
            "The layers of these nets differ: each mean is over a net's own layers. How alike channels are depends on "
            f'their number and size, so compare a net with the {RANDOM} of its own layers, then the nets by that.'
        )
    sections += ['## Mean over layers', table(['checkpoint', *LABELS.values()], mean)]
    if results['compared']:
        head = ['less redundant, layers', *LABELS.values(), 'the three KL agree', 'all agree']
        sections += [f'## Against {names[0]}', table(head, _counts(results['compared']))]
    for m in MEASURES:
        rows = []
        for row in results['layers']:
            if row['values']:
                cells = [_short(value and value[m]) for value in (*row['values'], row['random'])]
                rows.append((row['layer'], row['kernel'], _measured(row), *cells))
        sections += [f'## {LABELS[m]} by layer', table(['layer', 'kernel', 'measured', *names, RANDOM], rows)]
    if left := [row['layer'] for row in results['layers'] if not row['values']]:
        sections.append(f'Not measured, for fewer than two channels live in all checkpoints: {", ".join(left)}')
    return '\n\n'.join(sections) + '\n'


def _counts(compared: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f'{name}, of {part["layers"]}',
            *(str(part['less'][m]) for m in MEASURES),
            str(part['kl_agree']),
            str(part['all_agree']),
        )
        for name, part in compared.items()
    ]


def _measured(row: Mapping[str, Any]) -> str:
    dead = f'; dead: {", ".join("" if n is None else str(n) for n in row["dead"])}' if any(row['dead']) else ''
    return f'{row["measured"]} of {row["channels"]}{dead}'


def _short(value: float | None) -> str:
    return '' if value is None else f'{value:.3g}'


def draw_depth(results: Mapping[str, Any]) -> Figure:
    """Every measure over depth, a line for each checkpoint; over relative depth where their layers differ."""
    rows = [row for row in results['layers'] if row['values']]
    names = [each['name'] for each in results['checkpoints']]
    matched = RANDOM in results['mean']
    width = min(14, 4 + 0.3 * len(rows)) if matched else 9
    figure, panels = plt.subplots(len(MEASURES), 1, figsize=(max(7, width), 10.5), sharex=True, layout='constrained')
    for axes, m in zip(panels, MEASURES, strict=True):
        for i, name in enumerate(names):
            own = [row for row in rows if row['values'][i]]
            x = range(len(own)) if matched else np.linspace(0, 1, len(own))
            look = dict(style(i), linewidth=1.2, fillstyle='none')
            axes.plot(x, [_height(row, row['values'][i], m) for row in own], label=name, markersize=4.5, **look)
            if not matched or i == len(names) - 1:
                look |= dict(linestyle=':', marker=None, color='#888888' if matched else look['color'])
                label = RANDOM if matched else f'{RANDOM} like {name}'
                axes.plot(x, [_height(row, row['random'], m) for row in own], label=label, **look)
        label = 'effective rank / largest possible' if m == 'effective_rank' else LABELS[m]
        axes.set_title(f'{label}  ({SENSE[m]})', loc='left', fontsize=9)
        axes.grid(linewidth=0.3)
        axes.tick_params(labelsize=8, which='both')
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
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(label, fontsize=8)
        figure.colorbar(image, ax=list(line), shrink=0.85, pad=0.02).ax.tick_params(labelsize=7)
    figure.suptitle(f'{LABELS[measured]} between channels  ({SENSE[measured]})', fontsize=10)
    return figure
