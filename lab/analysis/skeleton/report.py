"""Skeletons as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refconv_mm.console import table
from ..common.text import Headline
from .measure import REGIONS, WEIGHTINGS


def report(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sections that are printed, and those by layer."""
    names = [each['name'] for each in results['checkpoints']]
    first = ['Magnitude by region: share of the whole, and in brackets relative to an even kernel (1).']
    for weighting in WEIGHTINGS:
        told = 'as it is' if weighting == 'layer' else 'every slice scaled to the same mean magnitude'
        rows = [
            (size, part[name]['layers'], name, *(_cell(part[name][weighting][region]) for region in REGIONS))
            for size, part in results['net'].items()
            for name in names
        ]
        first += [f'## The net, {told}', table(['kernel', 'layers', 'checkpoint', *REGIONS], rows)]
    rest = []
    for region in REGIONS:
        rows = [
            (row['layer'], row['kernel'], *(_cell(row['values'][name]['layer'][region]) for name in names))
            for row in results['layers']
        ]
        rest += [f'## {region.capitalize()} by layer', table(['layer', 'kernel', *names], rows)]
    if results['skipped']:
        skipped = '; '.join(f'{layer} ({reason})' for layer, reason in results['skipped'].items())
        rest.append(f'Not measured: {skipped}')
    return first, rest


def _cell(part: Mapping[str, float]) -> str:
    return f'{100 * part["share"]:.1f} % ({part["relative"]:.2f})'


def headlines(results: Mapping[str, Any]) -> list[Headline]:
    """Share of the centre, for each kernel size."""
    rows = []
    for size, part in results['net'].items():
        height, width = map(int, size.split('x'))
        shares = {name: f'{100 * found["layer"]["centre"]["share"]:.1f} %' for name, found in part.items()}
        even = f'share of the whole |w|; an even kernel has {100 / (height * width):.1f} %'
        rows.append(Headline(f'centre of {size} kernels', shares, even))
    return rows
