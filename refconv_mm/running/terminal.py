"""What a run shows on the terminal: a few lines of the log. The log file in the work dir has all of it."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import redirect_stdout
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from torch.utils.data import DataLoader

from ..console import log_console

# The lines of this package that are shown. What is validated is a row of ProgressHook's table.
SHOWN = ('refconv_mm', 'RefConvHook: ', 'this run starts from')
HIDDEN = 'RefConvHook: validates'
# Warnings about the inside of the libraries, about which their users cannot do anything.
INSIDE = ('deprecated', 'The prefix is not set in metric', 'Failed to search registry')


class TerminalHandler(logging.Handler):
    """Prints warnings, and what this package logs, on rich's console."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        if self.console.file.closed:  # mmengine's logger outlives the run, and what caught its output may be gone
            return
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            if any(part in text for part in INSIDE):
                return
            self.console.print(f'{record.levelname.lower()}: {text}', style='yellow', markup=False, highlight=False)
        elif text.startswith(SHOWN) and not text.startswith(HIDDEN):
            self.console.print(text, markup=False, highlight=False)


class LogStream(io.TextIOBase):
    """Logs what is printed into it."""

    def write(self, text: str) -> int:
        if text.strip():
            MMLogger.get_current_instance().info(text.rstrip())
        return len(text)


class QuietRunner(Runner):
    """mmengine's runner with a log that is complete in its file and short on the terminal.

    The libraries print where they load checkpoints and data and where they evaluate. Only there are prints logged.

    Attributes:
        console: of the terminal.
    """

    def build_logger(self, *args: Any, **options: Any) -> MMLogger:
        """Builds the logger and replaces its handler of the terminal."""
        # Named, so that it stays the terminal while prints are logged.
        self.console = log_console(sys.stdout)
        logger = super().build_logger(*args, **options)
        for place, handler in enumerate(logger.handlers):
            if type(handler) is logging.StreamHandler:
                shown = TerminalHandler(self.console, handler.level)
                shown.filters = handler.filters
                logger.handlers[place] = shown
        _log_warnings([handler for handler in logger.handlers if not isinstance(handler, TerminalHandler)])
        return logger

    def load_checkpoint(self, *args: Any, **options: Any) -> Any:
        """Loads a checkpoint; what mmengine prints is logged."""
        with redirect_stdout(LogStream()):
            return super().load_checkpoint(*args, **options)

    @staticmethod
    def build_dataloader(*args: Any, **options: Any) -> DataLoader:
        """Builds a data loader; what pycocotools prints is logged."""
        with redirect_stdout(LogStream()):
            return Runner.build_dataloader(*args, **options)

    def build_evaluator(self, evaluator: Any) -> Any:
        """Builds an evaluator; what pycocotools prints is logged."""
        with redirect_stdout(LogStream()):
            built = super().build_evaluator(evaluator)
        evaluate = built.evaluate

        def quiet_evaluate(size: int) -> dict:
            with redirect_stdout(LogStream()):
                return evaluate(size)

        built.evaluate = quiet_evaluate
        return built


def _log_warnings(handlers: list[logging.Handler]) -> None:
    """Sends Python's warnings, most of them of old code upstream, to the log file."""
    logging.captureWarnings(True)
    warned = logging.getLogger('py.warnings')
    warned.handlers, warned.propagate = handlers or [logging.NullHandler()], False
