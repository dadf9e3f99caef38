"""Costs of several models as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from refconv_mm.console import table
from ..common.costs import median_ms
from ..common.text import MIB, Headline, quartiles, three

MEASURES = {
    'trainable': 'trainable parameters, M',
    'parameters': 'parameters when deployed, M',
    'multiply_adds': 'multiply-adds when deployed, G',
    'peak_bytes': 'peak of a training step, MiB',
    'training': 'training step',
    'inference': 'inference, deployed',
}
UNITS = dict(trainable=1e6, parameters=1e6, multiply_adds=1e9, peak_bytes=MIB)


def report(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """All sections; all are printed."""
    rows, first = results['models'], results['models'][0]['name']
    sections = ['\n'.join(f'- {row["name"]}: {row["config"]}; deployed: {row["deployed"]}.' for row in rows)]
    sections.append(
        f'{results["batch"]} made images of {results["size"][0]} x {results["size"][1]} on {results["processor"]}, '
        f'{results["threads"]} threads, torch {results["torch"]}, {results["time"]}. Multiply-adds are those of one '
        'image, in convolutions and matrix products (what mmengine calls FLOPs). Times are medians of '
        f'{len(rows[0]["training"]["seconds"])} and {len(rows[0]["inference"]["seconds"])} rounds in which the models '
        'took turns; ratios are those of each round, with their quartiles. The peak is that of forward, backward and '
        'an SGD step with momentum.'
    )
    cells = [(row['name'], *(three(row[key] / unit) for key, unit in UNITS.items())) for row in rows]
    sections += ['## Size', table(['model', *(MEASURES[key] for key in UNITS)], cells)]
    head = ['model']
    for part in ('training', 'inference'):
        head += [f'{MEASURES[part]}, ms', f'{MEASURES[part]} / {first}']
    timed = [
        (row['name'], *(cell for part in ('training', 'inference')
                        for cell in (f'{median_ms(row[part]):.1f}', quartiles(row[part]['ratio']))))
        for row in rows
    ]  # fmt: skip
    return [*sections, '## Time', table(head, timed)], []


def headlines(results: Mapping[str, Any]) -> list[Headline]:
    """Sizes, and times against the first model."""
    rows, first = results['models'], results['models'][0]['name']

    def line(label: str, text: Callable[[Any], str], reading: str) -> Headline:
        return Headline(label, {row['name']: text(row) for row in rows}, reading)

    images = f'{results["batch"]} images of {results["size"][0]} x {results["size"][1]}'
    return [
        line('trainable parameters, M', lambda row: three(row['trainable'] / 1e6), ''),
        line('parameters when deployed, M', lambda row: three(row['parameters'] / 1e6), 'fused, batch norm folded'),
        line('multiply-adds when deployed, G', lambda row: three(row['multiply_adds'] / 1e9), 'of one image'),
        line(f'training step / {first}', lambda row: f'{row["training"]["ratio"][0]:.3f}', images),
        line(f'inference / {first}', lambda row: f'{row["inference"]["ratio"][0]:.3f}', images),
        line('peak of a training step, MiB', lambda row: three(row['peak_bytes'] / MIB), images),
    ]
