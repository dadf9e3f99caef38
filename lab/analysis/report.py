"""The analyses as Markdown; each function returns sections. The numbers by layer are in the JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t

from ..tables import table
from . import redundancy as redundancy_measures
from . import theory as theory_measures
from .errors import mean_and_error
from .skeleton import REGIONS

LABELS = dict(
    kl_softmax='KL, softmax', kl_unit='KL, unit softmax', kl_magnitude='KL, magnitudes', cosine='cosine',
    effective_rank='effective rank',
)  # fmt: skip


def short(value: float | None) -> str:
    """Three digits; nothing for None."""
    return '' if value is None else f'{value:.3g}'


def plus_minus(part: Mapping[str, Any] | None, key: str = 'mean', form: str = '.4g') -> str:
    """`12.34 ± 0.41` of a value and its `error`; the value alone where the error is None."""
    if part is None or part[key] is None:
        return ''
    error = part.get('error')
    return f'{part[key]:{form}}' + (
        '' if error is None else f' ± {error:{".2g" if form == ".4g" else form.lstrip("+")}}'
    )


def mean_spread(values: Sequence[float], sign: str = '') -> str:
    """`mean ± standard deviation`; the mean alone of a single value."""
    spread = f' ± {statistics.stdev(values):.2g}' if len(values) > 1 else ''
    return f'{statistics.fmean(values):{sign}.3g}{spread}'


# -- kernels -----------------------------------------------------------------------------------------------


def redundancy(results: Mapping[str, Any]) -> list[str]:
    """Redundancy as tables."""
    names, measures = [each['name'] for each in results['checkpoints']], redundancy_measures.MEASURES
    mean = [(name, *(short(part[m]) for m in measures)) for name, part in results['mean'].items()]
    first = ['\n'.join(f'- {LABELS[m]}: {text}.' for m, text in measures.items())]
    first.append(
        f'Of a layer at most {results["max_channels"]} channels, a sample, the same in every checkpoint. Random '
        f'channels are not redundant either: compare with the {redundancy_measures.RANDOM}.'
    )
    first += ['## Mean over layers', table(['checkpoint', *LABELS.values()], mean)]
    if results['compared']:
        head = ['less redundant, layers', *LABELS.values()]
        rows = [
            (f'{name}, of {part["layers"]}', *(part['less'][m] for m in measures))
            for name, part in results['compared'].items()
        ]
        first += [f'## Against {names[0]}', table(head, rows)]
    if left := [row['layer'] for row in results['layers'] if not row['values']]:
        first.append(f'Not measured, for fewer than two channels live in all checkpoints: {", ".join(left)}')
    return first


def skeleton(results: Mapping[str, Any]) -> list[str]:
    """Skeletons as tables."""
    names = [each['name'] for each in results['checkpoints']]
    first = ['Magnitude by region: share of the whole, and in brackets relative to an even kernel (1).']
    rows = [
        (size, part[name]['layers'], name, *(_region(part[name][region]) for region in REGIONS))
        for size, part in results['net'].items()
        for name in names
    ]
    first += ['## The net', table(['kernel', 'layers', 'checkpoint', *REGIONS], rows)]
    if results['skipped']:
        skipped = '; '.join(f'{layer} ({reason})' for layer, reason in results['skipped'].items())
        first.append(f'Not measured: {skipped}')
    return first


def _region(part: Mapping[str, float]) -> str:
    return f'{100 * part["share"]:.1f} % ({part["relative"]:.2f})'


def theory(results: Mapping[str, Any]) -> list[str]:
    """The Gram matrix and its predictions as tables."""
    measures = theory_measures.MEASURES
    first = ['\n'.join(f'- {name}: {text}.' for name, text in measures.items())]
    first.append(f'Of a layer at most {results["max_groups"]} groups, a sample.')
    if results['mean']:
        rows = [
            (name, f'{part["changed"]} of {part["layers"]}', short(part.get('angle')), *_means(part))
            for name, part in results['mean'].items()
        ]
        head = ['after', 'layers that changed', 'angle to the kernels before (degrees, median)', *measures]
        first += ['## Mean over layers, its standard error, layers above 0', table(head, rows)]
        first += ['## The same without the scaling of a layer as a whole', _without_scaling(results)]
    if len(results['mean']) > 1:
        first += ['## Exponents against each other, layer by layer', _exponent_pairs(results)]
    rows = []
    for row in results['layers']:
        gram, diagonal = row['gram'], np.array(row['gram']['diagonal'])
        ratio = diagonal[[0, 0, -1, -1], [0, -1, 0, -1]].mean() / diagonal[len(diagonal) // 2, diagonal.shape[1] // 2]
        cells = short(gram['mean_diagonal']), short(gram['condition']), f'{ratio:.2f}'
        rows.append((row['layer'], row['kernel'], f'{row["measured"]} of {row["groups"]}', *cells))
    head = ['layer', 'kernel', 'groups measured', 'mean diagonal (speed)', 'largest / smallest eigenvalue']
    return [*first, '## Gram matrices', table([*head, 'diagonal, corners / centre'], rows)]


def _means(part: Mapping[str, Any]) -> list[str]:
    texts = [(plus_minus(part[m], form='.2f'), part[m]) for m in theory_measures.MEASURES]
    return [text and f'{text}, {found["positive"]} of {found["layers"]}' for text, found in texts]


def _without_scaling(results: Mapping[str, Any]) -> str:
    text = (
        'Weight decay shrinks plain kernels as a whole, which looks like the prediction (docs/theory.md). Here the '
        'multiple of the kernel that fits the update best, one number a layer, is taken out of the update first.'
    )
    rows = []
    for name, part in results['rest'].items():
        scaling = results['mean'][name].get('scaling')
        cells = [f'{100 * scaling["factor"]:+.2g} %', f'{100 * scaling["share"]:.0f} %'] if scaling else ['', '']
        rows.append((name, *cells, *_means(part)))
    head = ['after', 'scaled by', 'share of the update', *theory_measures.MEASURES]
    return f'{text}\n\n{table(head, rows)}'


def _exponent_pairs(results: Mapping[str, Any]) -> str:
    text = (
        'Exponent (without scaling) of the one in the row minus that of the one in the column, mean over layers ± '
        'standard error. Refocused against plain at the same speed, the theory says 2.'
    )
    names, exponents = list(results['mean']), {}
    for name in names:
        rests = [(row['after'][name] or {}).get('rest') or {} for row in results['layers']]
        exponents[name] = np.array([np.nan if rest.get('exponent') is None else rest['exponent'] for rest in rests])
    rows = [(a, *(_paired(exponents[a] - exponents[b]) for b in names)) for a in names]
    return f'{text}\n\n{table(["", *names], rows)}'


def _paired(differences: np.ndarray) -> str:
    known = differences[np.isfinite(differences)]
    return plus_minus(mean_and_error(known.tolist()), form='+.2f') if len(known) > 1 and known.any() else ''


# -- the loss ----------------------------------------------------------------------------------------------


def landscape(results: Mapping[str, Any]) -> list[str]:
    """The loss along directions as tables."""
    nets = results['checkpoints']
    distances = [distance for distance in nets[0]['distances'] if distance > 0]
    first = [
        f'The loss that training minimises (without weight decay), on {results["batches"]}, batch norm with running '
        f'statistics. Lines along {len(nets[0]["lines"])} random directions, the same draws for every checkpoint, each '
        'normalised to its own filters (Li et al. 2018, arXiv 1712.09913): at distance t every filter has moved by t '
        'times its own norm. Biases and batch norm parameters stay.',
        'Figures are means over the directions, ± their standard deviation. A net that fits these images less has less '
        'to lose and is flatter for that alone: compare nets of like loss, and with the control rather than the start.',
        '## Loss',
        table(['checkpoint', 'loss'], [(net['name'], f'{net["centre"]:.4f}') for net in nets]),
        '## Rise of the loss by distance, both sides averaged',
        _by_distance(distances, {net['name']: net['rise'] for net in nets}, mean_spread),
    ]
    if results['compared']:
        pairs = {f'{pair["of"]} - {pair["minus"]}': pair['difference'] for pair in results['compared']}
        text = 'In brackets: along how many directions the first named rises more.'
        first += ['## Difference in rise, direction by direction', text, _by_distance(distances, pairs, _difference)]
    return first


def _by_distance(distances: Sequence[float], columns: Mapping[str, Any], cell: Callable[[Any], str]) -> str:
    rows = [
        (f'{distance:.3g}', *(cell([line[i] for line in lines]) for lines in columns.values()))
        for i, distance in enumerate(distances)
    ]
    return table(['distance', *columns], rows)


def _difference(values: Sequence[float]) -> str:
    return f'{mean_spread(values, "+")} ({sum(value > 0 for value in values)} of {len(values)})'


def curvature(results: Mapping[str, Any]) -> list[str]:
    """Eigenvalues and traces as tables."""
    nets, count = results['checkpoints'], len(results['checkpoints'][0]['loss']['values'])
    factor = t.ppf(0.975, count - 1) if count > 1 else math.nan
    units = [unit for unit in ('filter', 'raw') if unit in nets[0]]
    rows = []
    for net in nets:
        cells = [plus_minus(net['loss'])]
        for unit in units:
            cells.append(', '.join(plus_minus(top, 'value') for top in net[unit]['eigenvalues']) or 'not found')
            cells.append(plus_minus(net[unit]['trace']))
        rows.append((net['name'], *cells))
    head = [f'{unit}: {column}' for unit in units for column in ('largest eigenvalues', 'trace')]
    first = [
        f'The Hessian of the loss on {results["batches"]}, batch norm with its running statistics. Unit `filter` is '
        "relative to the norm of the weight's filter, one-dimensional parameters fixed; `raw` depends on the scale of "
        'the weights, which batch norm makes arbitrary, so compare models by the former.',
        f'After ± one standard error. The nets share vectors and batches, so the ratios are known better than the '
        f'figures. From {count} batches, 95 % are ± {factor:.1f} of these errors (Student). No error covers another '
        'training of the same net.',
        table(['checkpoint', 'loss', *head], rows),
    ]
    if results['compared']:
        rows = [
            (quantity, *(plus_minus(pair['values'][quantity]) for pair in results['compared']))
            for quantity in results['compared'][0]['values']
        ]
        head = ['1: equal; below 1: flatter', *(f'{pair["of"]} / {pair["over"]}' for pair in results['compared'])]
        first += ['## Ratios', table(head, rows)]
    return first
