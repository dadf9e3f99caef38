"""The benchmark's results as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..tables import table

MIB = 2**20
FORMS = ('released', 'refocused')


def median_ms(part: Mapping[str, Any]) -> float:
    """Median of the seconds of one competitor of :func:`.costs.alternate`, in milliseconds."""
    return 1000 * statistics.median(part['seconds'])


def quartiles(ratio: Sequence[float], digits: int = 3) -> str:
    """`median (lower to upper quartile)`."""
    median, low, high = ratio
    return f'{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})'


def ratio_table(cases: list[dict[str, Any]], part: str, names: Sequence[str]) -> str:
    """Milliseconds of plain's call, ratios of the others, and how many rounds there were."""
    rows = []
    for case in (case for case in cases if part in case):
        times = case[part]
        ratios = [quartiles(times[name]['ratio']) if name in times else '' for name in names]
        plain = f'{median_ms(times["plain"]):.1f}'
        rows.append((case['model'], case['batch'], plain, *ratios, len(times['plain']['seconds'])))
    return table(['model', 'batch', 'plain, ms', *(f'{name} / plain' for name in names), 'rounds'], rows)


def memory_table(cases: list[dict[str, Any]]) -> str:
    """Peak bytes of a step, as far as a GPU measured them."""
    rows = []
    for case in cases:
        part = case['training']
        plain = part['plain']['peak_bytes']
        if plain is None:  # without a GPU
            continue
        more = [f'{100 * (part[name]["peak_bytes"] / plain - 1):+.1f} %' for name in FORMS]
        rows.append((case['model'], case['batch'], f'{plain / MIB:.1f}', *more))
    return table(['model', 'batch', 'plain, MiB', *FORMS], rows)


def size_table(cases: list[dict[str, Any]]) -> str:
    """Parameters, of which DDP sends as many gradients, and optimizer state; no batch size changes them."""
    rows = []
    for case in {case['model']: case for case in cases}.values():
        for name in ('plain', *FORMS):
            part = case['training'][name]
            rows.append((case['model'], name, f'{part["parameters"]:,}', f'{part["optimizer_bytes"] / MIB:.2f}'))
    return table(['model', 'form', 'trainable parameters', 'SGD state, MiB'], rows)


def report(cases: list[dict[str, Any]], command: str) -> str:
    """All tables.

    Args:
        cases: of :func:`.measure.measure_case`, at least one.
        command: that made them.
    """
    first = cases[0]
    parts = [
        f'`{command}` on {first["processor"]}, {first["threads"]} threads, torch {first["torch"]}, refconv_mm '
        f'{first["refconv_mm"]}. Medians of the per-round ratios to plain, with their quartiles.',
        '### Training step', ratio_table(cases, 'training', FORMS),
        '### Peak memory of a step', memory_table(cases), '### Sizes', size_table(cases),
        '### Inference', ratio_table(cases, 'inference', ['refocused', 'fused', 'folded']),
    ]  # fmt: skip
    return '\n\n'.join(parts) + '\n'
