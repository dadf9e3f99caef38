"""Commands in processes that are forked from this one: they can be killed, and need no seconds for imports."""

from __future__ import annotations

import gc
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


def prepare_to_train() -> None:
    """Imports all that a training needs and starts autograd: once, and not in each forked process."""
    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        for part in ('models', 'datasets', 'engine', 'evaluation', 'visualization'):
            import_module(f'{library}.{part}')
    # A process whose first backward follows an export cannot fork one that trains: torch then starts threads for it.
    torch.ones(1, requires_grad=True).backward()


class Forked:
    """A function that runs in a forked process, with its output in a file.

    Args:
        function: called there; its SystemExit becomes the exit code, any other error 1 with its traceback.
        log: gets the output of the process, after the text that is in it.
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

    def wait(self, timeout: float = 300) -> int:
        """Waits for the end; kills the process and fails after the time-out."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f'still running after {timeout} s:\n{self.said[-3000:]}')
            time.sleep(0.005)
        return self.code

    def wait_for(self, path: Path) -> None:
        """Waits until the process has made a file; its name can be a glob."""
        while not any(path.parent.glob(path.name)):
            assert self.poll() is None, self.said[-3000:]
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> int:
        """Kills the process, if it still runs, and waits for its end."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def ends_well(self) -> str:
        """Waits for exit code 0; returns the output in one line."""
        assert self.wait() == 0, self.said[-3000:]
        return ' '.join(self.said.split())

    def refuses(self, *parts: str) -> None:
        """Waits for exit code 2 and one last line that has all parts, without a traceback."""
        assert self.wait() == 2, self.said[-3000:]
        assert 'Traceback' not in self.said
        last = self.said.strip().splitlines()[-1]
        assert all(part in last for part in parts), last

    @property
    def said(self) -> str:
        """The output of the process."""
        return self.log.read_text(errors='replace')


def _run(function: Callable[[], object], log: Path) -> None:
    gc.freeze()  # garbage of the parent stays as it is: its finalizers would run here, in the midst of other work
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
        config.FormatCode = lambda text, **_: (text, True)  # formatting configs would take most of the time
        commands.main([str(word) for word in words])

    return Forked(run, log)
