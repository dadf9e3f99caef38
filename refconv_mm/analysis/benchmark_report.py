"""The benchmark's results as Markdown tables and figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from ..console import table

MIB = 2**20
FORMS = ('explicit', 'update', 'layer')  # the last: scope='layer', in dense nets
COLOURS = dict(plain='#444444', explicit='#d95f02', update='#1b6ca8', layer='#e7298a', refocused='#7570b3')
COLOURS |= dict(fused='#1b9e77', folded='#66a61e')


def spread(ratio: Sequence[float] | None, digits: int = 3) -> str:
    """`median (lower to upper quartile)`."""
    if ratio is None:
        return ''
    median, low, high = ratio
    return f'{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})'


def training_table(cases: list[dict[str, Any]]) -> str:
    """Seconds of plain's step, ratios of the others."""
    rows = []
    for case in cases:
        part = case['training']
        plain = part['plain']
        seconds = statistics.median(plain['seconds'])
        ratios = [spread(part[name]['ratio']) if name in part else '' for name in FORMS]
        rows.append((case['model'], case['batch'], f'{seconds:.3f}', *ratios, len(plain['seconds'])))
    return table(['model', 'batch', 'plain, s', *(f'{name} / plain' for name in FORMS), 'rounds'], rows)


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
        for name in ('plain', 'explicit', 'update'):
            part = case['training'][name]
            sizes = (f'{part[key] / MIB:.2f}' for key in ('optimizer_bytes', 'gradient_bytes', 'checkpoint_bytes'))
            rows.append((case['model'], name, f'{part["parameters"]:,}', *sizes))
    head = [
        'model',
        'form',
        'trainable parameters',
        'SGD state, MiB',
        'gradients sent, MiB',
        'file to resume from, MiB',
    ]
    return table(head, rows)


def inference_table(cases: list[dict[str, Any]], part: str, names: Sequence[str]) -> str:
    """Milliseconds of plain's forward pass, ratios of the others."""
    rows = []
    for case in cases:
        if part in case:
            times = case[part]
            plain = 1000 * statistics.median(times['plain']['seconds'])
            rows.append((case['model'], case['batch'], f'{plain:.1f}', *(spread(times[n]['ratio']) for n in names)))
    return table(['model', 'batch', 'plain, ms', *(f'{name} / plain' for name in names)], rows)


def growth_table(rows: list[dict[str, Any]]) -> str:
    """The growing layer."""
    cells = [
        (row['channels'], row['form'], f'{row["parameters"]:,}', f'{row["peak_bytes"] / MIB:.1f}',
         f'{1000 * row["seconds"]:.2f}', spread(row['ratio'], 2))
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
        parts += ['### Training step', training_table(cases), '### Peak memory of a step', memory_table(cases)]
        parts += ['### Sizes', size_table(cases), '### Inference']
        parts += [inference_table(cases, 'inference', ['refocused', 'fused', 'folded'])]
        if any('onnx' in case for case in cases):
            parts += ['### Inference of the ONNX graphs', inference_table(cases, 'onnx', ['fused', 'folded'])]
    if results.get('fuse'):
        parts += ['### Fusing', fuse_line(results['fuse'])]
    if results.get('growth'):
        parts += ['### One depthwise layer, wider and wider', growth_table(results['growth'])]
    return '\n\n'.join(parts) + '\n'


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """`benchmark.png` and `growth.png`, as far as there are results for them."""
    paths = []
    if cases := results.get('cases'):
        paths.append(_draw_cases(cases, folder / 'benchmark.png'))
    if rows := results.get('growth'):
        paths.append(_draw_growth(rows, folder / 'growth.png'))
    return paths


def _draw_cases(cases: list[dict[str, Any]], path: Path) -> Path:
    run = [case for case in cases if 'inference' in case]
    heights = [len(cases), max(1, len(run))]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 2.2 + 0.28 * sum(heights)), gridspec_kw=dict(height_ratios=heights), layout='constrained'
    )
    _dots(top, cases, 'training', FORMS)
    top.set_title('Training step against the plain model (median and quartiles)', loc='left', fontsize=10)
    _dots(bottom, run, 'inference', ['refocused', 'fused', 'folded'])
    bottom.set_title('Forward pass against the plain model', loc='left', fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def _dots(axes: Axes, cases: list[dict[str, Any]], part: str, names: Sequence[str]) -> None:
    axes.axvline(1, color='#444444', linewidth=1)
    axes.axvline(1.05, color='#444444', linewidth=0.8, linestyle=':')
    for shift, name in enumerate(names):
        shown = [(row, case[part][name]['ratio']) for row, case in enumerate(cases) if name in case[part]]
        if shown:
            rows, ratios = zip(*shown, strict=True)
            median, low, high = zip(*ratios, strict=True)
            error = [
                [m - a for m, a in zip(median, low, strict=True)],
                [b - m for m, b in zip(median, high, strict=True)],
            ]
            place = [row + 0.18 * (shift - (len(names) - 1) / 2) for row in rows]
            axes.errorbar(median, place, xerr=error, fmt='o', markersize=4.5, color=COLOURS[name], label=name)
    axes.set_yticks(range(len(cases)), [f'{case["model"]}, batch {case["batch"]}' for case in cases], fontsize=8)
    axes.set_ylim(len(cases) - 0.5, -0.5)  # the first on top
    axes.tick_params(axis='x', labelsize=8)
    axes.grid(axis='x', linewidth=0.3)
    axes.set_xlabel('seconds / seconds of the plain model, same round', fontsize=8)
    axes.legend(
        fontsize=8, loc='lower right', bbox_to_anchor=(1, 1), ncols=len(names), frameon=False, borderaxespad=0.2
    )


def _draw_growth(rows: list[dict[str, Any]], path: Path) -> Path:
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout='constrained')
    columns = [('parameters', 1, 'trainable parameters'), ('peak_bytes', MIB, 'peak of a step, MiB'),
               ('seconds', 1e-3, 'training step, ms')]  # fmt: skip
    for axis, (key, unit, label) in zip(axes, columns, strict=True):
        for form, style in (('plain', 's--'), ('explicit', 'o-'), ('update', '^-')):
            line = [row for row in rows if row['form'] == form]
            x, y = [row['channels'] for row in line], [row[key] / unit for row in line]
            axis.loglog(x, y, style, color=COLOURS[form], label=form, markersize=5, fillstyle='none')
        axis.set_xlabel('channels of the depthwise 3x3 layer')
        axis.set_title(label, loc='left', fontsize=10)
        axis.grid(which='major', linewidth=0.3)
    axes[0].legend(fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path
