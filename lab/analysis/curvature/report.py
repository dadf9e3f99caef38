"""Curvature and sharpness as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy.stats import t

from refconv_mm.console import table
from ..common.text import Headline, plus_minus
from ..common.units import UNITS

BN = dict(
    eval='the running statistics as stored. They do not follow when a filter moves, so growing or shrinking a filter '
    'also changes the loss here',
    batch="the batch's own statistics, as in training: growing or shrinking a filter before a batch norm changes "
    'nothing, and counts as flat',
)
TRACE = ('parameters', 'trace', 'error over vectors', 'error over batches', 'mean eigenvalue')
ORDER = ('filter', 'element', 'raw')  # of the units in tables: what can be compared first


def report(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sections that are printed, and those by quantity."""
    settings, measured = results['settings'], results['measured']
    count = settings['eigenvalues']
    first = [
        f'Loss on {results["batches"]}. Batch norm: {BN[results["mode"]]}.',
        '\n'.join(f'- {unit}: {text}.' for unit, text in UNITS.items()),
        'Raw figures depend on the scale of the weights, which batch norm makes arbitrary; compare models by the '
        'relative ones. After ± one standard error; the nets are measured with the same vectors on the same batches, '
        f'so the ratios are known better than the figures. {_interval(results["count"])} No error covers what another '
        'training of the same net would give.',
        '## In short',
        _short_table(measured),
    ]
    if results['compared']:
        first += ['## Ratios', _ratio_table(results['compared'])]
    return first, [
        '## Largest eigenvalues of the Hessian',
        'Value, standard error over the batches (to first order: the eigenvector kept); residual, within which an '
        'eigenvalue of the Hessian of these batches is certain.',
        _by_unit(measured, [f'{i + 1}.' for i in range(count)], lambda part: _eigenvalues(part, count)),
        '## Trace of the Hessian',
        f'Hutchinson, {settings["probes"]} vectors. Both errors are in the ±.',
        _by_unit(measured, TRACE, _trace),
        '## Spectral density',
        f'{settings["starts"]} Lanczos quadratures of {settings["lanczos"]} steps; see the figure. The lowest '
        'eigenvalue is no higher than given here. Peaks in the figure are as wide as the quadrature resolves.',
        _by_unit(measured, ['lowest eigenvalue, at most'], lambda part: [f'{part["spectrum"]["smallest"]:.4g}']),
        '## Sharpness',
        'How much higher the loss of a batch gets within a radius, as SAM and ASAM count it in each unit: the most met '
        f'in {settings["ascent"]} steps of ascent, and (in brackets) after the first. In units of filters, a radius of '
        '0.05 lets one filter move by 5 % of its norm, or all together by as much in the root of the sum of squares.',
        _sharpness_table(measured),
        'The loss is piecewise smooth (ReLU, max pooling; the assigner and the hard negatives of a detector): the '
        'Hessian is that of the piece where the weights stand, sharpness also sees beyond it.',
    ]


def _interval(batches: int) -> str:
    if batches == 1:
        return 'One batch gives no error over batches.'
    return f'From {batches} batches, 95 % are ± {t.ppf(0.975, batches - 1):.1f} of these errors (Student).'


def _short_table(measured: Mapping[str, Any]) -> str:
    rows = [
        (name, plus_minus(found['loss']), *_three(found, 'filter'), *_three(found, 'raw'))
        for name, found in measured.items()
    ]
    head = ['checkpoint', 'loss']
    for unit in ('filter', 'raw'):
        rises = next(iter(measured.values()))['sharpness'][unit]
        middle = f'sharpness at {rises[len(rises) // 2]["radius"]:g}'
        head += [f'{unit}: {what}' for what in ('largest eigenvalue', 'trace', middle)]
    return table(head, rows)


def _three(found: Mapping[str, Any], unit: str) -> list[str]:
    """Largest eigenvalue, trace, and sharpness at the middle radius."""
    part, rises = found['hessian'][unit], found['sharpness'][unit]
    top = plus_minus(part['eigenvalues'][0], 'value') if part['eigenvalues'] else 'not found'
    return [top, plus_minus(part['trace']), plus_minus(rises[len(rises) // 2]['ascent'])]


def _ratio_table(compared: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for quantity in sorted(compared[0]['values'], key=lambda each: ORDER.index(each.split(':')[0])):
        found = [pair['values'][quantity] for pair in compared]
        rows.append((quantity, *('' if each is None else plus_minus(each, 'ratio') for each in found)))
    return table(['1: equal; below 1: flatter', *(f'{pair["of"]} / {pair["over"]}' for pair in compared)], rows)


def _by_unit(measured: Mapping[str, Any], head: Sequence[str], cells: Callable[[Any], Sequence[str]]) -> str:
    """A table with a row for each unit of the Hessian and each checkpoint."""
    units = list(next(iter(measured.values()))['hessian'])
    rows = [
        (unit, name, *cells(found['hessian'][unit])) for unit in reversed(units) for name, found in measured.items()
    ]
    return table(['unit', 'checkpoint', *head], rows)


def _eigenvalues(part: Mapping[str, Any], count: int) -> list[str]:
    texts = [f'{plus_minus(top, "value")} ({top["residual"]:.1g})' for top in part['eigenvalues']]
    return texts + ['not found'] * (count - len(texts))


def _trace(part: Mapping[str, Any]) -> list[str]:
    found, count = part['trace'], part['parameters']
    errors = ['' if found[key] is None else f'{found[key]:.2g}' for key in ('probe_error', 'batch_error')]
    return [f'{count:,}', plus_minus(found), *errors, f'{found["mean"] / count:.3g}']


def _sharpness_table(measured: Mapping[str, Any]) -> str:
    rows = []
    for unit in ORDER:
        for i, first in enumerate(next(iter(measured.values()))['sharpness'][unit]):
            found = [each['sharpness'][unit][i] for each in measured.values()]
            cells = [f'{plus_minus(row["ascent"])} ({plus_minus(row["step"])})' for row in found]
            rows.append((unit, f'{first["radius"]:g}', *cells))
    return table(['unit', 'radius', *measured], rows)


def headlines(results: Mapping[str, Any]) -> list[Headline]:
    """Largest eigenvalue, trace and sharpness in the unit that rescaling can't fake."""
    measured = results['measured']
    tops, traces, rises = zip(*(_three(found, 'filter') for found in measured.values()), strict=True)
    first = next(iter(measured))
    radii = [row['radius'] for row in measured[first]['sharpness']['filter']]
    reading = 'scale-invariant; ± standard error; lower: flatter'
    pairs = {pair['of']: pair['values']['filter: trace'] for pair in results['compared'] if pair['over'] == first}
    ratios = {name: plus_minus(pair, 'ratio') for name, pair in pairs.items() if pair}
    figures = {
        'trace of the Hessian': traces, 'largest eigenvalue': tops,
        f'sharpness at radius {radii[len(radii) // 2]:g}': rises,
    }  # fmt: skip
    rows = [
        Headline(f'{label}, filter-relative', dict(zip(measured, values, strict=True)), reading)
        for label, values in figures.items()
    ]
    reading = 'from the same vectors and batches, so better known than the traces'
    return rows + ([Headline(f'trace / that of {first}', ratios, reading)] if ratios else [])
