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
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..console import log_console
from .metrics import shown_values

# The lines of this package that are shown.
SHOWN = ('refconv_mm', 'RefConvHook: ')
# Warnings about the inside of the libraries, about which their users cannot do anything.
INSIDE = ('deprecated', 'The prefix is not set in metric', 'Failed to search registry')
WARM_UP = 10  # steps, which are slower than the others
LONGEST_WAIT = 1800  # seconds between two lines


def worth_showing(record: logging.LogRecord) -> bool:
    """Whether a warning is about something that users can change."""
    return not any(part in record.getMessage() for part in INSIDE)


class TerminalHandler(logging.Handler):
    """Prints warnings and the lines of this package on rich's console."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        if self.console.file.closed:  # mmengine's logger outlives the run, and its output can be closed
            return
        text, is_warning = record.getMessage(), record.levelno >= logging.WARNING
        if is_warning and worth_showing(record):
            self.console.print(f'{record.levelname.lower()}: {text}', style='yellow', markup=False, highlight=False)
        elif not is_warning and text.startswith(SHOWN):
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
    """Shows steps, loss and time left of a training, and a line for each validation.

    Where no terminal draws a bar, it prints lines: after the first step, then at growing intervals, and after the last.
    The first `WARM_UP` steps are slower than the others, so they count only until there are more.
    """

    def __init__(self, console: Console, label: str = 'train') -> None:
        self.console, self.label = console, label
        self.progress = Progress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TextColumn('loss {task.fields[loss]:.3f}'), TextColumn('left'), TimeRemainingColumn(), console=console,
        )  # fmt: skip

    def before_train(self, runner: Runner) -> None:
        self.first, self.wait, self.next_line = runner.iter + 1, 10.0, 0.0
        self.bar = self.progress.add_task(
            self.label, start=False, total=runner.max_iters, completed=runner.iter, loss=float('nan')
        )
        if self.console.is_terminal and is_main_process():
            self.progress.start()

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        step, now, scalars = runner.iter + 1, time.monotonic(), runner.message_hub.log_scalars
        loss = scalars['train/loss'].current() if 'train/loss' in scalars else float('nan')
        self.progress.update(self.bar, completed=step, loss=loss)
        if step in (self.first, self.first + WARM_UP):
            self.begin, self.begin_step = now, step
            self.progress.reset(self.bar, completed=step, loss=loss)
        is_due = now > self.next_line or step == runner.max_iters
        if is_due and not self.console.is_terminal and is_main_process():
            done, left = step - self.begin_step, ''
            if done and step < runner.max_iters:
                seconds = (now - self.begin) / done * (runner.max_iters - step)
                left = f', {timedelta(seconds=round(seconds))} left'
                left += ' by the first steps' if step < self.first + WARM_UP else ''
            text = f'{self.label}: step {step} of {runner.max_iters}, loss {loss:.3f}{left}'
            self.console.print(text, highlight=False)
            self.next_line, self.wait = now + self.wait, min(2 * self.wait, LONGEST_WAIT)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if is_main_process():
            values = ', '.join(shown_values(metrics or {}))
            self.console.print(f'validation at step {runner.iter}: {values}', markup=False, highlight=False)

    def after_train(self, runner: Runner) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the bar, also after an error."""
        if self.progress.live.is_started:
            self.progress.stop()
