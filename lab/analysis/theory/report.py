"""The Gram matrix and its predictions as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refconv_mm.console import table
from ..common.errors import mean_and_error
from ..common.text import Headline, mean_error, short, three
from .measure import MEASURES

SCALING = (
    'Weight decay shrinks plain kernels as a whole, which looks like what is predicted (docs/theory.md). Here the '
    'multiple of the kernel that fits the update best, one number a layer, is taken out of the update first.'
)
PAIRS = (
    'Exponent (without scaling) of the one in the row minus that of the one in the column, mean over layers ± standard '
    'error. Refocused against plain at the same speed, the theory says 2.'
)


def report(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sections that are printed, and those by layer."""
    first = ['\n'.join(f'- {name}: {text}.' for name, text in MEASURES.items())]
    first.append(f'Of a layer at most {results["max_groups"]} groups, a sample of seed {results["seed"]}.')
    if results['mean']:
        rows = [
            (name, f'{part["changed"]} of {part["layers"]}', short(part.get('turned')), *_means(part))
            for name, part in results['mean'].items()
        ]
        head = ['after', 'layers that changed', 'kernels turned by (degrees, median)', *MEASURES]
        first += ['## Mean over layers, its standard error, layers above 0', table(head, rows)]
        first += ['## The same without what scales a layer as a whole', SCALING, _rest(results)]
    if len(results['mean']) > 1:
        first += ['## Exponents against each other, layer by layer', PAIRS, _pairs(results)]
    rows = []
    for row in results['layers']:
        gram, measured = row['gram'], f'{row["measured"]} of {row["groups"]}'
        cells = short(gram['mean_diagonal']), short(gram['condition']), _corner_to_centre(gram)
        rows.append((row['layer'], row['kernel'], measured, *cells))
    head = ['layer', 'kernel', 'groups measured', 'mean diagonal (speed)', 'largest / smallest eigenvalue']
    rest = ['## Gram matrices', table([*head, 'diagonal, corners / centre'], rows)]
    for name in results['mean']:
        rows = [
            (row['layer'], *(short((row['after'][name] or {}).get(m)) for m in MEASURES)) for row in results['layers']
        ]
        rest += [f'## {name}, by layer', table(['layer', *MEASURES], rows)]
    return first, rest


def _means(part: Mapping[str, Any]) -> list[str]:
    texts = [(mean_error(part[m]), part[m]) for m in MEASURES]
    return [text and f'{text}, {found["positive"]} of {found["layers"]}' for text, found in texts]


def _rest(results: Mapping[str, Any]) -> str:
    rows = []
    for name, part in results['rest'].items():
        scaling = results['mean'][name].get('scaling')
        cells = [f'{100 * scaling["factor"]:+.2g} %', f'{100 * scaling["share"]:.0f} %'] if scaling else ['', '']
        rows.append((name, *cells, *_means(part)))
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
    found = mean_and_error(known.tolist())
    return f'{found["mean"]:+.2f} ± {found["error"]:.2f}'


def _corner_to_centre(gram: Mapping[str, Any]) -> str:
    diagonal = np.array(gram['diagonal'])
    corners = diagonal[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    return f'{corners / diagonal[diagonal.shape[0] // 2, diagonal.shape[1] // 2]:.2f}'


def headlines(results: Mapping[str, Any]) -> list[Headline]:
    """By how much kernels turned; exponent and direction without what scales a layer, means over layers and errors."""
    readings = dict(
        exponent='0: no preference for directions; refocusing adds 2 to its control',
        direction='rank correlation of the update with the prediction; 1: as predicted',
    )
    angles = {name: three(part['turned']) for name, part in results['mean'].items() if 'turned' in part}
    rows = [Headline('kernels turned by, degrees', angles, 'median over the kernels of a layer, mean of layers')]
    for key, reading in readings.items():
        values = {name: mean_error(part[key]) for name, part in results['rest'].items()}
        values = {name: text for name, text in values.items() if text}
        rows.append(Headline(f'{key}, mean of layers', values, reading))
    return [row for row in rows if row.values]
