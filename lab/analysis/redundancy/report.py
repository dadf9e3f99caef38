"""Redundancy as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refconv_mm.console import table
from ..common.text import Headline, short, three
from .measure import MEASURES, RANDOM

LABELS = dict(
    kl_softmax='KL, softmax', kl_unit='KL, unit softmax', kl_magnitude='KL, magnitudes', cosine='cosine',
    effective_rank='effective rank',
)  # fmt: skip
SENSE = dict(
    kl_softmax='higher: less redundant (and: larger weights)', kl_unit='higher: less redundant',
    kl_magnitude='higher: less redundant', cosine='lower: less redundant', effective_rank='higher: less redundant',
)  # fmt: skip


def report(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sections that are printed, and those by layer."""
    names = [each['name'] for each in results['checkpoints']]
    mean = [(name, *(short(part[m]) for m in MEASURES)) for name, part in results['mean'].items()]
    sections = ['\n'.join(f'- {LABELS[m]}: {MEASURES[m]}.' for m in MEASURES)]
    sections.append(
        f'Of a layer at most {results["max_channels"]} channels, a sample of seed {results["seed"]}, the same in every '
        f'checkpoint. Random channels are not redundant either: compare with the {RANDOM}.'
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
    by_layer = []
    for m in MEASURES:
        rows = []
        for row in results['layers']:
            if row['values']:
                cells = [short(value and value[m]) for value in (*row['values'], row['random'])]
                rows.append((row['layer'], row['kernel'], _measured(row), *cells))
        by_layer += [f'## {LABELS[m]} by layer', table(['layer', 'kernel', 'measured', *names, RANDOM], rows)]
    if left := [row['layer'] for row in results['layers'] if not row['values']]:
        by_layer.append(f'Not measured, for fewer than two channels live in all checkpoints: {", ".join(left)}')
    return sections, by_layer


def _counts(compared: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (f'{name}, of {part["layers"]}', *(part['less'][m] for m in MEASURES), part['kl_agree'], part['all_agree'])
        for name, part in compared.items()
    ]


def _measured(row: Mapping[str, Any]) -> str:
    dead = f'; dead: {", ".join("" if n is None else str(n) for n in row["dead"])}' if any(row['dead']) else ''
    return f'{row["measured"]} of {row["channels"]}{dead}'


def headlines(results: Mapping[str, Any]) -> list[Headline]:
    """Mean over layers of each measure."""
    names = [each['name'] for each in results['checkpoints']]
    return [Headline(LABELS[m], {name: three(results['mean'][name][m]) for name in names}, SENSE[m]) for m in MEASURES]
