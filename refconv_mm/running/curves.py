"""The curves of a training, from the scalars that mmengine's LoggerHook writes into a work dir."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..files.writing import write_whole
from .metrics import shown_names

STEP = 'at_step'  # the step of a validation: LoggerHook writes the epoch, 0 in a loop over steps
LOSS = 'loss'
METRIC = 'metric'
RATE = 'learning rate'


def read_curve(work_dir: Path) -> list[dict[str, Any]]:
    """The logged losses and validations of the last training in a work dir, by step.

    Each start has a file. That of a resumed training continues those before it: its first step replaces that step and
    all later ones.
    """
    curve: list[dict[str, Any]] = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        rows = []
        for line in path.read_text(errors='replace').splitlines():
            with suppress(json.JSONDecodeError):  # half a line, of a killed run
                rows.append(json.loads(line))
        if not any('loss' in row or STEP in row for row in rows):  # of a test
            continue
        rows = [{**row, 'step': int(row.get(STEP, row.get('step', 0)))} for row in rows]
        config = path.with_name('config.py')
        resumed = config.is_file() and 'resume = True' in config.read_text().splitlines()
        first = min(row['step'] for row in rows) if resumed else 0
        curve = [row for row in curve if row['step'] < first] + rows
    dropped = ('data_time', 'time', 'memory', STEP)
    kept = [{key: value for key, value in row.items() if key not in dropped} for row in curve]
    return sorted(kept, key=lambda row: (row['step'], 'loss' in row))


def panels_of(curve: list[dict[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The points of each scalar by title of its panel and by its name; empty panels are left out."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {title: {} for title in (LOSS, METRIC, RATE)}
    for row in curve:
        for key, value in row.items():
            of_training = LOSS if 'loss' in key else RATE if key == 'lr' else None
            title = of_training if 'loss' in row else METRIC
            empty = title == METRIC and value == -1  # COCO's, where no box has this size
            if title and key not in ('step', 'iter', 'epoch') and isinstance(value, int | float) and not empty:
                panels[title].setdefault(key, []).append((row['step'], value))
    return {title: scalars for title, scalars in panels.items() if scalars}


def write_curves(work_dir: Path) -> Path | None:
    """Writes `curves.png` into a work dir; None if nothing was logged there."""
    if not (panels := panels_of(read_curve(work_dir))):
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 2.2 * len(panels)), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(str(work_dir), fontsize=9)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, scalars) in zip(axes, panels.items(), strict=True):
        for key, name in shown_names(scalars).items():
            # A point alone needs a marker; of many, the line is enough.
            marker = 'o' if len(scalars[key]) < 40 else None
            axis.plot(*zip(*scalars[key], strict=True), marker=marker, markersize=3, label=name)
        axis.set_title(title, loc='left', fontsize=9)
        axis.grid(linewidth=0.3)
        axis.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    axes[-1].set_xlabel('step')
    path = work_dir / 'curves.png'
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=120))
    return path


class CurvesHook(Hook):
    """Writes `curves.png` into the work dir after a training: losses, metrics and learning rate."""

    priority = 'LOW'  # after LoggerHook (BELOW_NORMAL)

    def before_val_epoch(self, runner: Runner) -> None:
        runner.message_hub.update_scalar(f'val/{STEP}', runner.iter)

    def after_train(self, runner: Runner) -> None:
        if is_main_process() and (path := write_curves(Path(runner.work_dir))):
            runner.logger.info(f'refconv_mm: wrote {path}')
