"""Commands in processes of their own, forked from this one: real processes to kill, without the seconds of imports."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from mmengine.config import config

from refconv_mm import commands


def import_libraries() -> None:
    """Imports what a training needs, once, and not in each forked process."""
    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        for part in ('models', 'datasets', 'engine', 'evaluation', 'visualization'):
            import_module(f'{library}.{part}')


def leave_configs_unformatted() -> None:
    """Formatting configs would take most of the time."""
    config.FormatCode = lambda text, **_: (text, True)


class Forked:
    """A function that runs in a forked process, with its output in a file.

    Args:
        function: called there; its SystemExit becomes the exit code, any other error 1 with its traceback.
        log: gets what the process prints, after what is in it.
    """

    def __init__(self, function: Callable[[], object], log: Path) -> None:
        self.log, self.code = log, None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(function, log)

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while the process runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, timeout: float = 900) -> int:
        """Waits for the end; kills the process and fails after the time-out."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f'still running after {timeout} s:\n{self.said[-3000:]}')
            time.sleep(0.005)
        return self.code

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Sends a signal, if the process still runs, and waits for its end."""
        if self.poll() is None:
            os.kill(self.pid, number)
        return self.wait()

    @property
    def said(self) -> str:
        """What the process printed."""
        return self.log.read_text(errors='replace')


def _run(function: Callable[[], object], log: Path) -> None:
    code = 1
    try:
        file = open(log, 'a', buffering=1)  # noqa: SIM115 (the process ends with it open)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)
        function()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def refconv(log: Path, *words: object) -> Forked:
    """Starts `refconv WORDS` in a forked process."""

    def run() -> None:
        leave_configs_unformatted()
        commands.main([str(word) for word in words])

    return Forked(run, log)
