"""The Gram matrix and its predictions drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..common.look import GREY, depth_axis, depth_width, draw_map, finish, fit_most, style
from ..common.text import short

TITLES = dict(
    direction='direction: energy of the update along eigenvectors, with eigenvalues',
    position='position: size of the update at each position, with the diagonal',
    growth='growth of mean |w| at each position, with the diagonal',
    exponent='exponent of that energy over the eigenvalue (refocusing adds 2 to the control)',
)


def draw(results: Mapping[str, Any]) -> dict[str, Figure]:
    """By file name; without a change in any layer there is nothing to predict."""
    figures = dict(theory_gram=draw_gram(results))
    if any(part['changed'] for part in results['mean'].values()):
        figures['theory'] = draw_prediction(results)
    return figures


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
        axes.semilogy(values, **style(1))
        finish(axes, title, which='both')
        axes.tick_params(labelbottom=False)
    depth_axis(condition, [row['layer'] for row in layers])
    axes = figure.add_subplot(grid[0, 1])
    shares = _average(rows, lambda row: row['gram']['values'])
    axes.semilogy(range(1, len(shares) + 1), shares, **style(1))
    finish(axes, f'shares of the eigenvalues, {rows[0]["size"]}')
    axes = figure.add_subplot(grid[1, 1])
    diagonal = _average(rows, lambda row: row['gram']['diagonal'])
    draw_map(axes, diagonal, 0, diagonal.max())
    axes.set_title(f'diagonal, mean of {len(rows)} layers (1: even)', loc='left', fontsize=9)
    return figure


def draw_prediction(results: Mapping[str, Any]) -> Figure:
    """The measures over depth, with what chance gives; energies along the eigenvectors; growth of the positions."""
    layers, names = results['layers'], list(results['mean'])
    figure = plt.figure(figsize=(depth_width(layers, 8), 12), layout='constrained')
    parts: Any = figure.subfigures(2, 1, height_ratios=[8.4, 3.6])
    upper, lower = parts
    panels = upper.subplots(len(TITLES), 1, sharex=True)
    chance = [1.96 / np.sqrt(max(1, len(row['gram']['values']) - 1)) for row in layers]
    for axes, (m, title) in zip(panels, TITLES.items(), strict=True):
        axes.axhline(0, color=GREY, linewidth=0.8)
        if m != 'exponent':
            # A dense layer's direction is a mean over its slices, far steadier than the band.
            axes.fill_between(range(len(layers)), [-c for c in chance], chance, color='#dddddd', linewidth=0,
                              label='95 % of random updates of one group')  # fmt: skip
            axes.set_ylim(-1.08, 1.08)
        for i, name in enumerate(names, start=1):
            values = [(row['after'][name] or {}).get(m) for row in layers]
            label = f'{name}: mean {short(results["mean"][name][m]["mean"])}'
            axes.plot([np.nan if value is None else value for value in values], label=label, **style(i))
        if m == 'exponent':
            fit_most(axes, [(row['after'][name] or {}).get(m) for row in layers for name in names])
        finish(axes, title)
        axes.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    depth_axis(panels[-1], [row['layer'] for row in layers])
    left, right = lower.subplots(1, 2)
    _draw_energy(left, _common(layers), names)
    _draw_growth(right, _common(layers), names)
    return figure


def _draw_energy(axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    places = range(1, len(rows[0]['gram']['values']) + 1)
    values = _average(rows, lambda row: row['gram']['values'])
    axes.semilogy(places, values, '--', color=GREY, label='eigenvalue')
    for i, name in enumerate(names, start=1):
        if changed := [row for row in rows if row['after'][name]]:
            energy = _average(changed, lambda row, name=name: row['after'][name]['energy'])
            axes.semilogy(places, energy, label=name, **style(i))
    title = f'shares along the eigenvectors, {len(rows)} layers, {rows[0]["size"]}'
    finish(axes, title, 'eigenvector, largest eigenvalue first', "share of the update's energy")
    axes.legend(fontsize=8)


def _draw_growth(axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    diagonal = _average(rows, lambda row: row['gram']['diagonal']).ravel()
    order = diagonal.argsort()
    for i, name in enumerate(names, start=1):
        if changed := [row for row in rows if row['after'][name]]:
            update = _average(changed, lambda row, name=name: row['after'][name]['update_map']).ravel()
            axes.plot(diagonal[order], (update / update.mean())[order], label=name, **style(i))
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.9), max(high, 1.1))  # noise should not fill the panel
    title = 'size of the update at each position, mean of layers'
    finish(axes, title, "diagonal of U'U at the position (1: mean)", 'root mean square (1: mean)')


def _common(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The layers of the most frequent kernel size: only maps of one size can be averaged."""
    sizes = [row['size'] for row in layers]
    size = max(dict.fromkeys(sizes), key=sizes.count)
    return [row for row in layers if row['size'] == size]


def _average(rows: Sequence[Mapping[str, Any]], what: Any) -> np.ndarray:
    return np.mean([what(row) for row in rows], axis=0)
