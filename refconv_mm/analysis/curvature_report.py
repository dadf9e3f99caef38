"""Curvature and sharpness as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from scipy.stats import t

from ..console import table
from .geometry import UNITS
from .outputs import checkpoint_list
from .uncertainty import ratio

BN = dict(
    eval='the running statistics as stored. They do not follow when a filter moves, so growing or shrinking a filter '
    'also changes the loss here',
    batch="the batch's own statistics, as in training: growing or shrinking a filter before a batch norm changes "
    'nothing, and counts as flat',
)
ORDER = ('filter', 'element', 'raw')  # of the units in tables: what can be compared first


def compare(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ratios of every checkpoint to every one before it, with errors of the pair: same probes, same batches.

    Returns:
        For each pair `of`, `over`, and `values`: by quantity a `ratio` and its standard `error`, or None.
    """
    return [
        dict(of=other, over=name, values={
            key: ratio(samples, theirs) for (key, samples), theirs
            in zip(_samples(measured[other]).items(), _samples(measured[name]).values(), strict=True)
        })
        for name, other in combinations(measured, 2)
    ]  # fmt: skip


def _samples(found: Mapping[str, Any]) -> dict[str, list[list[float]] | None]:
    """What is compared, `(probes, batches)` each."""
    values: dict[str, list[list[float]] | None] = {}
    for unit, part in found['hessian'].items():
        top = part['eigenvalues']
        values[f'{unit}: largest eigenvalue'] = [top[0]['values']] if top else None
        values[f'{unit}: trace'] = part['trace']['samples']
    for unit, rows in found['sharpness'].items():
        for row in rows:
            values[f'{unit}: sharpness at {row["radius"]:g}'] = [row['ascent']['values']] if row['ascent'] else None
    return values


def report(results: Mapping[str, Any]) -> str:
    """All tables, Markdown."""
    settings, measured = results['settings'], results['measured']
    sections = ['# Curvature of the task loss', f'`{results["command"]}`']
    sections.append(checkpoint_list(results['checkpoints']))
    sections.append(f'Loss on {results["batches"]}. Batch norm: {BN[results["mode"]]}.')
    sections.append('\n'.join(f'- {unit}: {text}.' for unit, text in UNITS.items()))
    sections.append(
        'Raw figures depend on the scale of the weights, which batch norm makes arbitrary; compare models by the '
        'relative ones. After ± one standard error; the nets are measured with the same vectors on the same batches, '
        f'so the ratios are known better than the figures. {_interval(results["count"])} No error covers what another '
        'training of the same net would give.'
    )
    sections += ['## In short', _short_table(measured)]
    if results['compared']:
        sections += ['## Ratios', _ratio_table(results['compared'])]
    sections += [
        '## Largest eigenvalues of the Hessian',
        'Value, standard error over the batches (to first order: the eigenvector kept); residual, within which an '
        'eigenvalue of the Hessian of these batches is certain.',
        _eigenvalue_table(measured, settings['eigenvalues']),
        '## Trace of the Hessian',
        f'Hutchinson, {settings["probes"]} vectors. Both errors are in the ±.',
        _trace_table(measured),
        '## Spectral density',
        f'{settings["starts"]} Lanczos quadratures of {settings["lanczos"]} steps; see the figure. The lowest '
        'eigenvalue is no higher than given here. Peaks in the figure are as wide as the quadrature resolves.',
        _spectrum_table(measured),
    ]
    sections += [
        '## Sharpness',
        'How much higher the loss of a batch gets within a radius, as SAM and ASAM count it in each unit: the most met '
        f'in {settings["ascent"]} steps of ascent, and (in brackets) after the first. In units of filters, a radius of '
        '0.05 lets one filter move by 5 % of its norm, or all together by as much in the root of the sum of squares.',
        _sharpness_table(measured),
    ]
    sections.append(
        'The loss is piecewise smooth (ReLU, max pooling; the assigner and the hard negatives of a detector): the '
        'Hessian is that of the piece where the weights stand, sharpness also sees beyond it.'
    )
    return '\n\n'.join(sections) + '\n'


def _interval(batches: int) -> str:
    if batches == 1:
        return 'One batch gives no error over batches.'
    return f'From {batches} batches, 95 % are ± {t.ppf(0.975, batches - 1):.1f} of these errors (Student).'


def plus_minus(part: Mapping[str, Any] | None, key: str = 'mean') -> str:
    """`12.34 ± 0.41`; without the error where there is none."""
    if part is None:
        return 'not finite'
    value, error = part[key], part.get('error')
    text = f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'
    if error is None:
        return text
    error = error if error > 1e-9 * abs(value) else 0.0  # below is rounding
    return f'{text} ± ' + (f'{error:,.0f}' if error >= 100 else f'{error:.2g}')


def _short_table(measured: Mapping[str, Any]) -> str:
    rows = []
    for name, found in measured.items():
        cells = [plus_minus(found['loss'])]
        for unit in ('filter', 'raw'):
            part, rises = found['hessian'][unit], found['sharpness'][unit]
            top = plus_minus(part['eigenvalues'][0], 'value') if part['eigenvalues'] else 'not found'
            cells += [top, plus_minus(part['trace']), plus_minus(rises[len(rises) // 2]['ascent'])]
        rows.append((name, *cells))
    head = ['checkpoint', 'loss']
    for unit in ('filter', 'raw'):
        rises = next(iter(measured.values()))['sharpness'][unit]
        middle = f'sharpness at {rises[len(rises) // 2]["radius"]:g}'
        head += [f'{unit}: {what}' for what in ('largest eigenvalue', 'trace', middle)]
    return table(head, rows)


def _ratio_table(compared: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for quantity in sorted(compared[0]['values'], key=lambda each: ORDER.index(each.split(':')[0])):
        found = [pair['values'][quantity] for pair in compared]
        rows.append((quantity, *('' if each is None else plus_minus(each, 'ratio') for each in found)))
    return table(['1: equal; below 1: flatter', *(f'{pair["of"]} / {pair["over"]}' for pair in compared)], rows)


def _eigenvalue_table(measured: Mapping[str, Any], count: int) -> str:
    rows = []
    for unit, name, found in _by_unit(measured):
        tops = found['eigenvalues']
        cells = [f'{plus_minus(top, "value")} ({top["residual"]:.1g})' for top in tops]
        rows.append((unit, name, *cells, *['not found'] * (count - len(tops))))
    return table(['unit', 'checkpoint', *(f'{i + 1}.' for i in range(count))], rows)


def _trace_table(measured: Mapping[str, Any]) -> str:
    rows = []
    for unit, name, found in _by_unit(measured):
        part = found['trace']
        errors = ['' if part[key] is None else f'{part[key]:.2g}' for key in ('probe_error', 'batch_error')]
        mean = part['mean'] / found['parameters']
        rows.append((unit, name, f'{found["parameters"]:,}', plus_minus(part), *errors, f'{mean:.3g}'))
    head = ['unit', 'checkpoint', 'parameters', 'trace', 'error over vectors', 'error over batches']
    return table([*head, 'mean eigenvalue'], rows)


def _spectrum_table(measured: Mapping[str, Any]) -> str:
    rows = [(unit, name, f'{part["spectrum"]["smallest"]:.4g}') for unit, name, part in _by_unit(measured)]
    return table(['unit', 'checkpoint', 'lowest eigenvalue, at most'], rows)


def _by_unit(measured: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    units = list(next(iter(measured.values()))['hessian'])
    return [(unit, name, found['hessian'][unit]) for unit in reversed(units) for name, found in measured.items()]


def _sharpness_table(measured: Mapping[str, Any]) -> str:
    rows = []
    for unit in ORDER:
        for i, first in enumerate(next(iter(measured.values()))['sharpness'][unit]):
            found = [each['sharpness'][unit][i] for each in measured.values()]
            cells = [f'{plus_minus(row["ascent"])} ({plus_minus(row["step"])})' for row in found]
            rows.append((unit, f'{first["radius"]:g}', *cells))
    return table(['unit', 'radius', *measured], rows)
