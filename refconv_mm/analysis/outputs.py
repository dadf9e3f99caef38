"""What the measurements write: JSON, Markdown and figures, whole or not at all, and the look that they share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import write_whole

# Okabe and Ito's colours, told apart by the colour-blind; the markers differ too, for print.
COLOURS = ('#444444', '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00')
MARKERS = 'os^Dvx'
MAP = 'viridis'


def style(index: int) -> dict[str, Any]:
    """Colour and marker of the checkpoint number `index`."""
    return dict(color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)])


def short_names(layers: Sequence[str]) -> list[str]:
    """Layer names without the leading and trailing parts that all of them share; never empty."""
    parts = [layer.split('.') for layer in layers]
    least = min(len(part) for part in parts)
    head = next((i for i in range(least) if len({part[i] for part in parts}) > 1), least)
    tail = next((i for i in range(least - head) if len({part[-1 - i] for part in parts}) > 1), least - head)
    return ['.'.join(part[head : len(part) - tail]) or layer for part, layer in zip(parts, layers, strict=True)]


def depth_axis(axes: Axes, layers: Sequence[str]) -> None:
    """Layers along x, by their short names, first to last; at most 40 of them are named."""
    step = -(-len(layers) // 40)
    axes.tick_params(axis='x', labelbottom=True)
    axes.set_xticks(range(0, len(layers), step), short_names(layers)[::step], rotation=90, fontsize=7)
    axes.set_xlim(-0.5, len(layers) - 0.5)


def numbers(axes: Axes, values: Sequence[Sequence[float]], form: str = '{:.2f}', size: float = 8) -> None:
    """Writes a map's numbers into its cells, dark on light and light on dark."""
    image: Any = axes.get_images()[0]
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            red, green, blue = image.cmap(image.norm(value))[:3]
            light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            colour = 'black' if light else 'white'
            axes.text(x, y, form.format(value), ha='center', va='center', fontsize=size, color=colour)


def checkpoint_list(checkpoints: Sequence[Mapping[str, Any]]) -> str:
    """What was measured, Markdown: name, path and what it was, a line for each."""
    return '\n'.join(f'- {each["name"]}: {each["path"]}, {each["what"]}' for each in checkpoints)


def write_results(
    out_dir: Path, stem: str, results: Mapping[str, Any], text: str, figures: Mapping[str, Figure]
) -> list[Path]:
    """Writes `stem.md`, `stem.json` and the figures, each beside its place and then renamed.

    Args:
        figures: by file name; closed afterwards.

    Returns:
        The files written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    body = json.dumps(results, indent=1, allow_nan=False) + '\n'
    write_whole(out_dir / f'{stem}.json', lambda path: Path(path).write_text(body, encoding='utf-8'))
    write_whole(out_dir / f'{stem}.md', lambda path: Path(path).write_text(text, encoding='utf-8'))
    for name, figure in figures.items():
        write_whole(out_dir / name, lambda path, figure=figure: figure.savefig(path, dpi=150))
        plt.close(figure)
    return [out_dir / name for name in (f'{stem}.md', f'{stem}.json', *figures)]
