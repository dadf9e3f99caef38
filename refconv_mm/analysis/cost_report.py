"""Costs of several models as a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..console import table
from ..files import check_free
from .benchmark_report import MIB, spread
from .cost_models import measure, milliseconds, read_models
from .outputs import COLOURS, write_results

FILES = ('cost.md', 'cost.json', 'cost.png')
MEASURES = {
    'trainable': 'trainable parameters, M',
    'parameters': 'parameters when deployed, M',
    'multiply_adds': 'multiply-adds when deployed, G',
    'peak_bytes': 'peak of a training step, MiB',
    'training': 'training step',
    'inference': 'inference, deployed',
}
UNITS = dict(trainable=1e6, parameters=1e6, multiply_adds=1e9, peak_bytes=MIB)


def run(
    configs: Sequence[str], names: str | None, out_dir: Path, command: str, force: bool = False,
    size: tuple[int, int] = (224, 224), batch: int = 8, seconds: float = 30.0,
) -> list[Path]:  # fmt: skip
    """Measures the models of configs and writes `cost.md`, `.json` and `.png`.

    Args:
        configs, names: as in :func:`refconv_mm.analysis.cost_models.read_models`.
        command: named in the report.
        size, batch, seconds: as in :func:`refconv_mm.analysis.cost_models.measure`.

    Returns:
        The files written.

    Raises:
        FileExistsError: a file is there and `force` is False; nothing was measured.
        FileNotFoundError: no such config.
        ValueError: names, settings, or a model that can't run.
    """
    check_free(out_dir, FILES, force)
    models, classes = read_models(configs, names)
    with Progress(SpinnerColumn(), TextColumn('{task.description}'), TimeElapsedColumn()) as progress:
        bar = progress.add_task('')
        results = measure(models, classes, size, batch, seconds, lambda step: progress.update(bar, description=step))
    for row, config in zip(results['models'], configs, strict=True):
        row['config'] = config
    results = dict(command=command, **results)
    return write_results(out_dir, 'cost', results, report(results), {'cost.png': draw(results)})


def three(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:#.3g}'


def report(results: Mapping[str, Any]) -> str:
    """All tables, Markdown."""
    rows, first = results['models'], results['models'][0]['name']
    sections = ['# Cost of models', f'`{results["command"]}`']
    sections.append('\n'.join(f'- {row["name"]}: {row["config"]}; deployed: {row["deployed"]}.' for row in rows))
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
                        for cell in (f'{milliseconds(row, part):.1f}', spread(row[part]['ratio']))))
        for row in rows
    ]  # fmt: skip
    return '\n\n'.join([*sections, '## Time', table(head, timed)]) + '\n'


def draw(results: Mapping[str, Any]) -> Figure:
    """A panel of bars for each measure, a bar for each model; times with their quartiles."""
    rows, first = results['models'], results['models'][0]['name']
    size = (12, 1.1 + 2 * (0.7 + 0.34 * len(rows)))
    figure, panels = plt.subplots(2, 3, figsize=size, sharey=True, layout='constrained')
    for axes, (key, title) in zip(panels.flat, MEASURES.items(), strict=True):
        ratios = None if key in UNITS else [row[key]['ratio'] for row in rows]
        if ratios is None:
            values, error = [row[key] / UNITS[key] for row in rows], None
        else:
            values = [median for median, _, _ in ratios]
            error = [[m - low for m, low, _ in ratios], [high - m for m, _, high in ratios]]
            title = f'{title} / {first}'
            axes.axvline(1, color='#888888', linewidth=0.8)
        colours = [COLOURS[0]] + [COLOURS[1]] * (len(rows) - 1)
        bars = axes.barh(range(len(rows)), values, xerr=error, color=colours, height=0.62, ecolor=COLOURS[2])
        axes.bar_label(bars, labels=[three(value) for value in values], padding=3, fontsize=8)
        axes.set_title(title, loc='left', fontsize=9)
        axes.set_xlim(0, 1.2 * max(values))
        axes.set_yticks(range(len(rows)), [row['name'] for row in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)  # the first on top
        axes.tick_params(axis='x', labelsize=8)
        axes.grid(axis='x', linewidth=0.3)
        axes.set_axisbelow(True)
    return figure
