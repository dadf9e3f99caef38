"""The Gram matrix and its predictions as tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import Config

from ..console import table
from ..files import check_free
from .kernels import KernelSet
from .outputs import MAP, checkpoint_list, depth_axis, numbers, style, write_results
from .theory import MEASURES, measure
from .uncertainty import summary

SCALING = (
    'Weight decay shrinks plain kernels as a whole, which looks like what is predicted (docs/theory.md). Here the '
    'multiple of the kernel that fits the update best, one number a layer, is taken out of the update first.'
)
PAIRS = (
    'Exponent (without scaling) of the one in the row minus that of the one in the column, mean over layers ± standard '
    'error. Refocused against plain at the same speed, the theory says 2.'
)
TITLES = dict(
    direction='direction: energy of the update along eigenvectors, with eigenvalues',
    position='position: size of the update at each position, with the diagonal',
    growth='growth of mean |w| at each position, with the diagonal',
    exponent='exponent of that energy over the eigenvalue (refocusing adds 2 to the control)',
)


def run(
    sets: Sequence[KernelSet], out_dir: Path, command: str, force: bool = False,
    cfg: Config | None = None, map_k: int = 3, max_groups: int = 4096, seed: int = 0,
) -> list[Path]:  # fmt: skip
    """Measures matched checkpoints and writes `theory.md`, `.json`, `theory_gram.png`, and with an AFTER `theory.png`.

    Args:
        sets: the first alone gives its Gram matrices only.
        command: named in the report.
        cfg, map_k, max_groups, seed: as in :func:`refconv_mm.analysis.theory.measure`.

    Returns:
        The files written.

    Raises:
        FileExistsError: a file is there and `force` is False; nothing was measured.
        ValueError: as :func:`refconv_mm.analysis.theory.measure`.
    """
    check_free(out_dir, ['theory.md', 'theory.json', 'theory_gram.png', 'theory.png'][: 4 if sets[1:] else 3], force)
    results = dict(command=command, **measure(sets, cfg, map_k, max_groups, seed))
    figures = {'theory_gram.png': draw_gram(results)}
    if any(part['changed'] for part in results['mean'].values()):
        figures['theory.png'] = draw_prediction(results)
    return write_results(out_dir, 'theory', results, report(results), figures)


def report(results: Mapping[str, Any]) -> str:
    """All tables, Markdown."""
    sections = ['# The Gram matrix of the basis, and what changed', f'`{results["command"]}`']
    sections.append(checkpoint_list(results['checkpoints']))
    sections.append('\n'.join(f'- {name}: {text}.' for name, text in MEASURES.items()))
    sections.append(f'Of a layer at most {results["max_groups"]} groups, a sample of seed {results["seed"]}.')
    if results['mean']:
        rows = [
            (
                name,
                f'{part["changed"]} of {part["layers"]}',
                _short(part.get('turned')),
                *(_mean(part[m]) for m in MEASURES),
            )
            for name, part in results['mean'].items()
        ]
        head = ['after', 'layers that changed', 'kernels turned by (degrees, median)', *MEASURES]
        sections += ['## Mean over layers, its standard error, layers above 0', table(head, rows)]
        sections += ['## The same without what scales a layer as a whole', SCALING, _rest(results)]
    if len(results['mean']) > 1:
        sections += ['## Exponents against each other, layer by layer', PAIRS, _pairs(results)]
    rows = []
    for row in results['layers']:
        gram, measured = row['gram'], f'{row["measured"]} of {row["groups"]}'
        cells = _short(gram['mean_diagonal']), _short(gram['condition']), _corner_to_centre(gram)
        rows.append((row['layer'], row['kernel'], measured, *cells))
    head = ['layer', 'kernel', 'groups measured', 'mean diagonal (speed)', 'largest / smallest eigenvalue']
    sections += ['## Gram matrices', table([*head, 'diagonal, corners / centre'], rows)]
    for name in results['mean']:
        rows = [
            (row['layer'], *(_short((row['after'][name] or {}).get(m)) for m in MEASURES)) for row in results['layers']
        ]
        sections += [f'## {name}, by layer', table(['layer', *MEASURES], rows)]
    return '\n\n'.join(sections) + '\n'


def _rest(results: Mapping[str, Any]) -> str:
    rows = []
    for name, part in results['rest'].items():
        scaling = results['mean'][name].get('scaling')
        cells = [f'{100 * scaling["factor"]:+.2g} %', f'{100 * scaling["share"]:.0f} %'] if scaling else ['', '']
        rows.append((name, *cells, *(_mean(part[m]) for m in MEASURES)))
    return table(['after', 'scaled by', 'share of the update', *MEASURES], rows)


def _pairs(results: Mapping[str, Any]) -> str:
    names, exponents = list(results['mean']), {}
    for name in names:
        rests = [(row['after'][name] or {}).get('rest') or {} for row in results['layers']]
        exponents[name] = np.array([np.nan if rest.get('exponent') is None else rest['exponent'] for rest in rests])
    return table(['', *names], [(a, *(_paired(exponents[a] - exponents[b]) for b in names)) for a in names])


def _paired(differences: np.ndarray) -> str:
    known = differences[np.isfinite(differences)]
    if len(known) < 2 or not known.any():
        return ''
    found = summary(known.tolist())
    return f'{found["mean"]:+.2f} ± {found["error"]:.2f}'


def _short(value: float | None) -> str:
    return '' if value is None else f'{value:.3g}'


def _mean(part: Mapping[str, Any]) -> str:
    if part['mean'] is None:
        return ''
    error = '' if part['error'] is None else f' ± {part["error"]:.2f}'
    return f'{part["mean"]:.2f}{error}, {part["positive"]} of {part["layers"]}'


def _corner_to_centre(gram: Mapping[str, Any]) -> str:
    diagonal = np.array(gram['diagonal'])
    corners = diagonal[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    return f'{corners / diagonal[diagonal.shape[0] // 2, diagonal.shape[1] // 2]:.2f}'


def draw_gram(results: Mapping[str, Any]) -> Figure:
    """Before any training: the speed and the condition over depth, the eigenvalues and the diagonal's mean."""
    layers, rows = results['layers'], _common(results['layers'])
    figure = plt.figure(figsize=(11.5, 5.6), layout='constrained')
    grid = figure.add_gridspec(2, 2, width_ratios=[2.2, 1])
    condition = figure.add_subplot(grid[1, 0])
    speed = figure.add_subplot(grid[0, 0], sharex=condition)
    for axes, key, title in (
        (speed, 'mean_diagonal', "mean diagonal of U'U: speed against plain training at the same rate"),
        (condition, 'condition', "largest / smallest eigenvalue of U'U"),
    ):
        values = [np.nan if row['gram'][key] is None else row['gram'][key] for row in layers]
        axes.semilogy(values, linewidth=1.2, markersize=4.5, fillstyle='none', **style(1))
        axes.set_title(title, loc='left', fontsize=9)
        axes.grid(linewidth=0.3, which='both')
        axes.tick_params(labelsize=8, which='both', labelbottom=False)
    depth_axis(condition, [row['layer'] for row in layers])
    axes = figure.add_subplot(grid[0, 1])
    axes.semilogy(range(1, len(rows[0]['gram']['values']) + 1), _average(rows, lambda row: row['gram']['values']),
                  markersize=4.5, fillstyle='none', **style(1))  # fmt: skip
    axes.set_title(f'shares of the eigenvalues, {rows[0]["size"]}', loc='left', fontsize=9)
    _finish(axes)
    axes = figure.add_subplot(grid[1, 1])
    diagonal = _average(rows, lambda row: row['gram']['diagonal'])
    axes.imshow(diagonal, cmap=MAP, vmin=0, vmax=diagonal.max())
    numbers(axes, diagonal.tolist(), size=8 if len(diagonal) <= 5 else 5)
    axes.set_title(f'diagonal, mean of {len(rows)} layers (1: even)', loc='left', fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def draw_prediction(results: Mapping[str, Any]) -> Figure:
    """The measures over depth, with what chance gives; energies along the eigenvectors; growth of the positions."""
    layers, names = results['layers'], list(results['mean'])
    width = max(8.0, min(14, 4 + 0.3 * len(layers)))
    figure = plt.figure(figsize=(width, 12), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=[8.4, 3.6])
    upper, lower = parts
    panels = upper.subplots(len(TITLES), 1, sharex=True)
    chance = [1.96 / np.sqrt(max(1, len(row['gram']['values']) - 1)) for row in layers]
    for axes, (m, title) in zip(panels, TITLES.items(), strict=True):
        axes.axhline(0, color='#888888', linewidth=0.8)
        if m != 'exponent':
            # A dense layer's direction is a mean over its slices, far steadier than the band.
            axes.fill_between(range(len(layers)), [-c for c in chance], chance, color='#dddddd', linewidth=0,
                              label='95 % of random updates of one group')  # fmt: skip
            axes.set_ylim(-1.08, 1.08)
        for i, name in enumerate(names, start=1):
            values = [(row['after'][name] or {}).get(m) for row in layers]
            axes.plot(
                [np.nan if value is None else value for value in values],
                label=f'{name}: mean {_short(results["mean"][name][m]["mean"])}', linewidth=1.2, markersize=4.5,
                fillstyle='none', **style(i),
            )  # fmt: skip
        axes.set_title(title, loc='left', fontsize=9)
        axes.grid(linewidth=0.3)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    depth_axis(panels[-1], [row['layer'] for row in layers])
    left, right = lower.subplots(1, 2)
    _draw_energy(left, _common(layers), names)
    _draw_growth(right, _common(layers), names)
    return figure


def _draw_energy(axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    places = range(1, len(rows[0]['gram']['values']) + 1)
    values = _average(rows, lambda row: row['gram']['values'])
    axes.semilogy(places, values, '--', color='#888888', label='eigenvalue')
    for i, name in enumerate(names, start=1):
        if changed := [row for row in rows if row['after'][name]]:
            energy = _average(changed, lambda row, name=name: row['after'][name]['energy'])
            axes.semilogy(places, energy, label=name, markersize=4.5, fillstyle='none', **style(i))
    axes.set_title(f'shares along the eigenvectors, {len(rows)} layers, {rows[0]["size"]}', loc='left', fontsize=9)
    axes.set_xlabel('eigenvector, largest eigenvalue first', fontsize=8)
    axes.set_ylabel("share of the update's energy", fontsize=8)
    axes.legend(fontsize=8)
    _finish(axes)


def _draw_growth(axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    diagonal = _average(rows, lambda row: row['gram']['diagonal']).ravel()
    order = diagonal.argsort()
    for i, name in enumerate(names, start=1):
        if changed := [row for row in rows if row['after'][name]]:
            update = _average(changed, lambda row, name=name: row['after'][name]['update_map']).ravel()
            axes.plot(diagonal[order], (update / update.mean())[order], label=name, markersize=5, fillstyle='none',
                      linewidth=0.6, **style(i))  # fmt: skip
    axes.set_title('size of the update at each position, mean of layers', loc='left', fontsize=9)
    axes.set_xlabel("diagonal of U'U at the position (1: mean)", fontsize=8)
    axes.set_ylabel('root mean square (1: mean)', fontsize=8)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.9), max(high, 1.1))  # noise should not fill the panel
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(linewidth=0.3)
    axes.tick_params(labelsize=8, which='both')


def _common(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The layers of the most frequent kernel size: only maps of one size can be averaged."""
    sizes = [row['size'] for row in layers]
    size = max(dict.fromkeys(sizes), key=sizes.count)
    return [row for row in layers if row['size'] == size]


def _average(rows: Sequence[Mapping[str, Any]], what: Any) -> np.ndarray:
    return np.mean([what(row) for row in rows], axis=0)
