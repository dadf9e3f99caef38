"""The hook of a run: writes its progress, and ends it with the process that started it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from refconv_mm.files.writing import write_json

SECONDS = 'train_seconds'


class StepsHook(Hook):
    """Writes the progress of a run and keeps its training time over interruptions.

    Args:
        folder: of the run.
    """

    priority = 'LOW'

    def __init__(self, folder: Path) -> None:
        self.folder, self.parent = folder, os.getppid()
        self.last = 0.0

    def before_train(self, runner: Runner) -> None:
        self.begin = time.monotonic() - runner.message_hub.get_info(SECONDS, 0.0)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        step, now = runner.iter + 1, time.monotonic()
        if now - self.last > 1:
            self.last = now
            write_json(self.folder / 'progress.json', dict(step=step, steps=runner.max_iters))
            if os.getppid() != self.parent:
                sys.exit(
                    'the process that started this run has ended; the next start continues from the last checkpoint'
                )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._note(runner)
        # mmengine copies the hub into the checkpoint before it calls the hooks.
        checkpoint['message_hub']['runtime_info'][SECONDS] = runner.message_hub.get_info(SECONDS)

    def after_train(self, runner: Runner) -> None:
        self._note(runner)

    def _note(self, runner: Runner) -> None:
        runner.message_hub.update_info(SECONDS, time.monotonic() - self.begin)
