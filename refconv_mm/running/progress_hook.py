"""ProgressHook: a progress bar for a training, and a row of a table for each validation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from numbers import Real
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .class_scores import ClassScores
from ..console import shorten
from ..hooks.refconv_hook import TURNED

LINES = 10  # of progress in a log, where no terminal draws a bar
WIDEST = 12  # characters of the name of a class


class ProgressHook(Hook):
    """Shows how a training proceeds: steps, loss, time left, and the scores of each validation, by class.

    Args:
        console: where; its width decides how many classes a row has.
        label: of the bar.
    """

    def __init__(self, console: Console, label: str = 'train') -> None:
        self.console, self.label = console, label
        self.progress = Progress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TextColumn('loss {task.fields[loss]:.3f}'), TextColumn('left'), TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self.head: list[str] = []
        self.scores: ClassScores | None = None

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        if runner.val_loop is not None:
            self.scores = ClassScores.of(runner.logger, runner.val_dataloader.dataset)
        self.bar = self.progress.add_task(
            self.label, total=runner.max_iters, completed=runner.iter, loss=float('nan')
        )  # fmt: skip
        if self.console.is_terminal:
            self.progress.start()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if not is_main_process():
            return
        loss, step = float(outputs['loss']) if outputs and 'loss' in outputs else float('nan'), runner.iter + 1
        self.progress.update(self.bar, completed=step, loss=loss)
        if not self.console.is_terminal and step % max(1, runner.max_iters // LINES) == 0:
            left = timedelta(seconds=round(runner.message_hub.get_info('eta', 0)))
            self.console.print(f'{self.label}: step {step} of {runner.max_iters}, loss {loss:.3f}, {left} left',
                               highlight=False)  # fmt: skip

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not is_main_process() or self.scores is None:
            return
        known = runner.message_hub.log_scalars
        turned = {'turned': known[TURNED].current()} if TURNED in known else {}
        cells = validation_cells(runner.iter, metrics or {}, turned, self.scores.take())
        head, line = fit(cells, self.console.width)
        if head != self.head:
            self.head = head
            self.console.print('  '.join(head), style='bold', markup=False, highlight=False)
        self.console.print(line, markup=False, highlight=False)

    def after_train(self, runner: Runner) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the bar, also after an error."""
        if self.progress.live.is_started:
            self.progress.stop()


def validation_cells(
    step: int, metrics: Mapping[str, Any], turned: Mapping[str, float], classes: Mapping[str, float]
) -> dict[str, str]:
    """Cells of a row by column: the step, the metrics, how far kernels have turned, and the score of each class.

    All but the first two metrics are last, where a narrow terminal leaves columns out.
    """
    numbers = {name.rpartition('/')[2]: value for name, value in metrics.items() if isinstance(value, Real)}
    for name in classes:
        numbers.pop(f'{name}_precision', None)  # CocoMetric returns what it prints
    shown = [(name, f'{value:.4g}') for name, value in numbers.items()]
    cells = {'step': f'{step}', **dict(shown[:2])} | {f'{name} °': f'{value:.3g}' for name, value in turned.items()}
    return cells | {shorten(name, WIDEST): f'{value:.4g}' for name, value in classes.items()} | dict(shown[2:])


def fit(cells: Mapping[str, str], width: int) -> tuple[list[str], str]:
    """Head and line of the first cells that fit into a width; `...` stands for the rest."""
    head, line = list[str](), list[str]()
    for name, text in cells.items():
        size = max(len(name), 7)
        if sum(len(each) + 2 for each in head) + size + 5 > width:
            return [*head, '...'], '  '.join([*line, '...'])
        head.append(f'{name:>{size}}')
        line.append(f'{text:>{size}}')
    return head, '  '.join(line)
