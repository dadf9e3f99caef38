"""The hook of a run: keeps its training time, and ends it with the process that started it."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

SECONDS = 'train_seconds'


class TrainingTimeHook(Hook):
    """Keeps the training time of a run over interruptions; ends the run where the parent process has ended."""

    priority = 'LOW'

    def __init__(self) -> None:
        self.parent = os.getppid()

    def before_train(self, runner: Runner) -> None:
        self.begin = time.monotonic() - runner.message_hub.get_info(SECONDS, 0.0)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if os.getppid() != self.parent:
            sys.exit('the process that started this run has ended; the next start continues from the last checkpoint')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.after_train(runner)
        # mmengine copies the hub into the checkpoint before it calls the hooks.
        checkpoint['message_hub']['runtime_info'][SECONDS] = runner.message_hub.get_info(SECONDS)

    def after_train(self, runner: Runner) -> None:
        runner.message_hub.update_info(SECONDS, time.monotonic() - self.begin)
