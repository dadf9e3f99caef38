"""The curves of a training, from the scalars that mmengine's LoggerHook writes into a work dir."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files.writing import write_whole

# The name under which CurvesHook writes the step of a validation beside its metrics.
STEP = 'at_step'
_OTHER = ('data_time', 'time', 'memory', 'iter', 'epoch', 'step', 'base_lr', STEP)


def read_curve(work_dir: Path) -> list[dict[str, Any]]:
    """The logged losses and validations by step; of a step that was done twice, the last."""
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            row['step'] = int(row.pop(STEP, row.get('step', 0)))
            kept = {key: value for key, value in row.items() if key not in ('data_time', 'time', 'memory', 'iter')}
            rows[row['step'], 'loss' in row] = kept
    return [rows[key] for key in sorted(rows)]


def panels_of(curve: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The names of the scalars that belong into one picture, by its title; empty ones are left out."""
    trained = dict.fromkeys(key for row in curve if 'loss' in row for key in row if key not in _OTHER)
    tested = dict.fromkeys(key for row in curve if 'loss' not in row for key in row if key not in _OTHER)
    panels = {
        'loss': [key for key in trained if 'loss' in key],
        'metric': [key for key in tested if key != 'turned'],
        'learning rate': [key for key in trained if key == 'lr'],
        'degrees that kernels turned, mean of layers': [key for key in tested if key == 'turned'],
    }
    return {title: keys for title, keys in panels.items() if keys}


def write_curves(work_dir: Path) -> Path | None:
    """Writes `curves.png` into a work dir; None if nothing was logged there."""
    curve = read_curve(work_dir)
    panels = panels_of(curve)
    if not panels:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 2.2 * len(panels)), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(str(work_dir), fontsize=9)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, keys) in zip(axes, panels.items(), strict=True):
        for key in keys:
            points = [(row['step'], row[key]) for row in curve if key in row and isinstance(row[key], int | float)]
            # A line between two validations would say more than was measured; a point alone needs a marker.
            axis.plot(*zip(*points, strict=True), marker='o' if len(points) < 40 else None, markersize=3,
                      linewidth=1.2, label=key.rpartition('/')[2])  # fmt: skip
        axis.set_title(title, loc='left', fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(linewidth=0.3)
        axis.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    axes[-1].set_xlabel('step', fontsize=8)
    path = work_dir / 'curves.png'
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=120))
    return path
