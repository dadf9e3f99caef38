"""Curvature and sharpness as one figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..common.hessian import density
from ..common.look import GREY, finish, style

LABELS = dict(filter='filter-relative', raw='raw (depends on scale)', element='element-relative')


def draw(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Eigenvalues and traces, densities, sharpness, ratios; scale-invariant beside raw, a colour for each net."""
    measured = results['measured']
    heights = [3, 3.6, 3.6] + ([0.9 + 0.22 * len(results['compared'][0]['values'])] if results['compared'] else [])
    figure = plt.figure(figsize=(12, 0.8 + sum(heights)), layout='constrained')
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    top = parts[0].subplots(1, 4, width_ratios=[2, 1, 2, 1])
    for place, unit in enumerate(('filter', 'raw')):
        _draw_eigenvalues(top[2 * place], measured, unit)
        _draw_trace(top[2 * place + 1], measured, unit)
    for axes, unit in zip(parts[1].subplots(1, 2), ('filter', 'raw'), strict=True):
        _draw_density(axes, measured, unit)
    for axes, unit in zip(parts[2].subplots(1, 3), ('filter', 'element', 'raw'), strict=True):
        _draw_sharpness(axes, measured, unit)
    if results['compared']:
        _draw_ratios(parts[3].subplots(), results)
    handles, labels = top[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper center', ncols=len(measured), fontsize=9)
    return dict(curvature=figure)


def _draw_eigenvalues(axes: Axes, measured: Mapping[str, Any], unit: str) -> None:
    for i, (name, found) in enumerate(measured.items()):
        tops = found['hessian'][unit]['eigenvalues']
        # Whichever is larger: how the batches scatter it, and how well it solves the equation.
        errors = [max(top['error'] or 0.0, top['residual']) for top in tops]
        places = np.arange(1, len(tops) + 1) + 0.12 * (i - (len(measured) - 1) / 2)
        axes.errorbar(places, [top['value'] for top in tops], yerr=errors, label=name, **_points(i))
    most = max(len(found['hessian'][unit]['eigenvalues']) for found in measured.values())
    axes.set_xticks(range(1, most + 1))
    axes.set_xlim(0.5, most + 0.5)
    axes.axhline(0, color=GREY, linewidth=0.8)
    finish(axes, f'largest eigenvalues, {LABELS[unit]}', 'number, largest first')


def _draw_trace(axes: Axes, measured: Mapping[str, Any], unit: str) -> None:
    for i, found in enumerate(measured.values()):
        part = found['hessian'][unit]['trace']
        axes.errorbar([i], [part['mean']], yerr=[part['error'] or 0.0], **_points(i))
    axes.set_xticks([])
    axes.set_xlim(-0.7, len(measured) - 0.3)
    axes.axhline(0, color=GREY, linewidth=0.8)
    finish(axes, f'trace, {LABELS[unit].split(" (")[0]}')


def _points(index: int) -> dict[str, Any]:
    return dict(style(index, 6), linestyle='none', capsize=3)


def _draw_density(axes: Axes, measured: Mapping[str, Any], unit: str) -> None:
    """On one scale for all nets; the bands are one standard error over the starts."""
    spectra = {name: found['hessian'][unit]['spectrum'] for name, found in measured.items()}
    nodes = [node for part in spectra.values() for start in part['nodes'] for node in start]
    wide, highest = max(nodes) - min(nodes), 0.0
    for i, (name, part) in enumerate(spectra.items()):
        grid, values = density(part, min(nodes) - 0.1 * wide, max(nodes) + 0.1 * wide)
        mean, colour = values.mean(0).numpy(), style(i)['color']
        highest = max(highest, mean.max())
        axes.semilogy(grid, mean, color=colour, linewidth=1.3, label=name)
        if len(values) > 1:
            error = values.std(0).numpy() / np.sqrt(len(values))
            axes.fill_between(grid, np.maximum(mean - error, 1e-30), mean + error, color=colour, alpha=0.2, linewidth=0)
    axes.set_ylim(1e-9 * highest, 5 * highest)
    finish(axes, f'spectral density, {LABELS[unit]}', 'eigenvalue')


def _draw_sharpness(axes: Axes, measured: Mapping[str, Any], unit: str) -> None:
    for i, found in enumerate(measured.values()):
        rows = [row for row in found['sharpness'][unit] if row['ascent']]
        shift = 1 + 0.025 * (i - (len(measured) - 1) / 2)  # so that the bars do not hide each other
        places, values = [row['radius'] * shift for row in rows], [row['ascent']['mean'] for row in rows]
        errors = [row['ascent']['error'] or 0.0 for row in rows]
        axes.errorbar([0, *places], [0, *values], yerr=[0, *errors], capsize=3, **style(i, 6))
    axes.set_ylim(bottom=0)
    finish(axes, f'sharpness, {LABELS[unit]}', 'radius', 'rise of the loss')


def _draw_ratios(axes: Axes, results: Mapping[str, Any]) -> None:
    """Of every net over the first one."""
    names = list(results['measured'])
    pairs = [pair for pair in results['compared'] if pair['over'] == names[0]]
    quantities = sorted(pairs[0]['values'], key=lambda each: each.startswith('raw'))
    for pair in pairs:
        i = names.index(pair['of'])
        known = [(row, pair['values'][quantity]) for row, quantity in enumerate(quantities) if pair['values'][quantity]]
        rows = [row + 0.2 * (i - len(names) / 2) for row, _ in known]
        errors = [value['error'] or 0.0 for _, value in known]
        axes.errorbar([value['ratio'] for _, value in known], rows, xerr=errors, **_points(i))
    axes.axvline(1, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(quantities)), quantities)
    axes.set_ylim(len(quantities) - 0.4, -0.6)  # the first on top
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    finish(axes, f'against {names[0]}, same batches and vectors, ± one error (1: equal; to the left: flatter)')
