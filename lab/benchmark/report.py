"""The benchmark's results as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refconv_mm.console import table
from ..analysis.common.costs import median_ms
from ..analysis.common.text import MIB, quartiles

FORMS = ('released', 'refocused')


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
    """Peak bytes of a step."""
    rows = []
    for case in cases:
        part = case['training']
        plain = part['plain']['peak_bytes']
        more = [f'{100 * (part[name]["peak_bytes"] / plain - 1):+.1f} %' if name in part else '' for name in FORMS]
        rows.append((case['model'], case['batch'], f'{plain / MIB:.1f}', *more))
    return table(['model', 'batch', 'plain, MiB', *FORMS], rows)


def size_table(cases: list[dict[str, Any]]) -> str:
    """Parameters, optimizer state, checkpoint and gradient bytes, which no batch size changes."""
    rows = []
    for case in {case['model']: case for case in cases}.values():
        for name in ('plain', 'released', 'refocused'):
            part = case['training'][name]
            sizes = (f'{part[key] / MIB:.2f}' for key in ('optimizer_bytes', 'gradient_bytes', 'checkpoint_bytes'))
            rows.append((case['model'], name, f'{part["parameters"]:,}', *sizes))
    head = ['model', 'form', 'trainable parameters', 'SGD state, MiB', 'gradients sent, MiB']
    return table([*head, 'file to resume from, MiB'], rows)


def growth_table(rows: list[dict[str, Any]]) -> str:
    """The growing layer."""
    cells = [
        (row['channels'], row['form'], f'{row["parameters"]:,}', f'{row["peak_bytes"] / MIB:.1f}',
         f'{1000 * row["seconds"]:.2f}', quartiles(row['ratio'], 2))
        for row in rows
    ]  # fmt: skip
    return table(['channels', 'form', 'trainable', 'peak of a step, MiB', 'step, ms', 'step / plain'], cells)


def fuse_line(fuse: dict[str, Any]) -> str:
    """Seconds of fusing beyond loading."""
    beyond, loading = statistics.median(fuse['seconds']), statistics.median(fuse['loading'])
    low, high = min(fuse['seconds']), max(fuse['seconds'])
    return (
        f'Fusing, proving and writing `{Path(fuse["config"]).stem}`: {beyond:.2f} s ({low:.2f} to {high:.2f}, '
        f'{len(fuse["seconds"])} runs) beyond building and loading the refocused model ({loading:.2f} s).'
    )


def report(results: dict[str, Any], command: str) -> str:
    """All tables.

    Args:
        results: `cases`, `fuse`, `growth`; what is missing is left out.
        command: that made them.
    """
    cases = results.get('cases', [])
    first = (cases or [results.get('fuse') or {}])[0]
    parts = [
        f'`{command}` on {first.get("processor")}, {first.get("threads")} threads, torch {first.get("torch")}, '
        f'refconv_mm {first.get("refconv_mm")}. Medians of the per-round ratios to plain, with their quartiles.'
    ]
    if cases:
        parts += ['### Training step', ratio_table(cases, 'training', FORMS)]
        parts += ['### Peak memory of a step', memory_table(cases), '### Sizes', size_table(cases)]
        parts += ['### Inference', ratio_table(cases, 'inference', ['refocused', 'fused', 'folded'])]
        if any('onnx' in case for case in cases):
            parts += ['### Inference of the ONNX graphs', ratio_table(cases, 'onnx', ['fused', 'folded'])]
    if results.get('fuse'):
        parts += ['### Fusing', fuse_line(results['fuse'])]
    if results.get('growth'):
        parts += ['### One depthwise layer, wider and wider', growth_table(results['growth'])]
    return '\n\n'.join(parts) + '\n'
