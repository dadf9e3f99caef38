"""The terminal of a run: first lines, warnings, progress and validations. The log file in the work dir has all."""

from __future__ import annotations

import functools
import io
import logging
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from numbers import Real
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..console import log_console
from ..hooks.refconv_hook import ANGLE

# The lines of this package that are shown. A validation is a row of ProgressHook.
SHOWN, HIDDEN = ('refconv_mm', 'RefConvHook: '), 'RefConvHook: validates'
# Warnings about the inside of the libraries, about which their users cannot do anything.
INSIDE = ('deprecated', 'The prefix is not set in metric', 'Failed to search registry')
WARM_UP = 10  # steps, which are slower than the others
LONGEST_WAIT = 1800  # seconds between two lines


class TerminalHandler(logging.Handler):
    """Prints warnings, and what this package logs, on rich's console."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        if self.console.file.closed:  # mmengine's logger outlives the run, and what caught its output may be gone
            return
        text, is_warning = record.getMessage(), record.levelno >= logging.WARNING
        if is_warning and not any(part in text for part in INSIDE):
            self.console.print(f'{record.levelname.lower()}: {text}', style='yellow', markup=False, highlight=False)
        elif not is_warning and text.startswith(SHOWN) and not text.startswith(HIDDEN):
            self.console.print(text, markup=False, highlight=False)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function whose prints go into the log."""

    @functools.wraps(function)
    def quiet(*args: Any, **options: Any) -> Any:
        with redirect_stdout(io.StringIO()) as printed:
            result = function(*args, **options)
        if text := printed.getvalue().rstrip():
            MMLogger.get_current_instance().info(text)
        return result

    return quiet


class QuietRunner(Runner):
    """mmengine's runner with a log that is complete in its file and short on the terminal (`console`)."""

    load_checkpoint = logged(Runner.load_checkpoint)
    build_dataloader = staticmethod(logged(Runner.build_dataloader))  # pycocotools prints here

    def build_logger(self, *args: Any, **options: Any) -> MMLogger:
        self.console = log_console(sys.stdout)  # named, so that it stays the terminal while prints are logged
        logger = super().build_logger(*args, **options)
        for place, handler in enumerate(logger.handlers):
            if type(handler) is logging.StreamHandler:
                logger.handlers[place] = TerminalHandler(self.console, handler.level)
                logger.handlers[place].filters = handler.filters
        logging.captureWarnings(True)  # Python's, most of them of old code upstream, go to the log file
        warned = logging.getLogger('py.warnings')
        warned.handlers = [each for each in logger.handlers if not isinstance(each, TerminalHandler)]
        warned.handlers, warned.propagate = warned.handlers or [logging.NullHandler()], False
        return logger

    def build_evaluator(self, evaluator: Any) -> Any:
        built = logged(super().build_evaluator)(evaluator)
        built.evaluate = logged(built.evaluate)
        return built


class ProgressHook(Hook):
    """Shows steps, loss and time left of a training, and a row for each validation.

    Where no terminal draws a bar, it prints lines: after the first step, then at growing intervals, and after the last.
    """

    def __init__(self, console: Console, label: str = 'train') -> None:
        self.console, self.label, self.head = console, label, ''
        self.progress = Progress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TextColumn('loss {task.fields[loss]:.3f}'), TextColumn('left'), TimeRemainingColumn(), console=console,
        )  # fmt: skip

    def before_train(self, runner: Runner) -> None:
        self.first, self.wait, self.next_line = runner.iter, 10.0, 0.0
        self.bar = self.progress.add_task(
            self.label, start=False, total=runner.max_iters, completed=runner.iter, loss=float('nan')
        )
        if self.console.is_terminal and is_main_process():
            self.progress.start()

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        step, scalars = runner.iter + 1, runner.message_hub.log_scalars
        loss = scalars['train/loss'].current() if 'train/loss' in scalars else float('nan')
        self.progress.update(self.bar, completed=step, loss=loss)
        if step == self.first + WARM_UP:
            self.progress.reset(self.bar, completed=step, loss=loss)  # the time left is told by the steps from here
        is_due = time.monotonic() > self.next_line or step == runner.max_iters
        if is_due and not self.console.is_terminal and is_main_process():
            left = self.progress.tasks[self.bar].time_remaining
            said = f', {timedelta(seconds=round(left))} left' if left else ''
            self.console.print(
                f'{self.label}: step {step} of {runner.max_iters}, loss {loss:.3f}{said}', highlight=False
            )
            self.next_line, self.wait = time.monotonic() + self.wait, min(2 * self.wait, LONGEST_WAIT)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        scalars, shown = (
            runner.message_hub.log_scalars,
            {name.rpartition('/')[2]: v for name, v in (metrics or {}).items()},
        )
        angle = {'kernel angle, degrees': scalars[ANGLE].current()} if ANGLE in scalars else {}
        head, line = row_of({'step': runner.iter, **angle, **shown}, self.console.width)
        for text, style in ((head, 'bold'), (line, None)):
            if is_main_process() and text != self.head:
                self.console.print(text, style=style, markup=False, highlight=False)
        self.head = head

    def after_train(self, runner: Runner) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the bar, also after an error."""
        if self.progress.live.is_started:
            self.progress.stop()


def row_of(cells: dict[str, Any], width: int) -> tuple[str, str]:
    """Head and line of a table with the first numbers that fit into a width; `...` stands for the others."""
    head = line = ''
    for name, value in cells.items():
        if isinstance(value, Real):
            size = max(len(name), 7) + 2
            if len(head) + size + 5 > width:
                return head + '  ...', line + '  ...'
            head, line = head + f'{name:>{size}}', line + f'{value:>{size}.4g}'
    return head, line
