"""CurvesHook: the curves of a training as a picture."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .curves import STEP, write_curves


@HOOKS.register_module()
class CurvesHook(Hook):
    """Writes `curves.png` into the work dir after a training: losses, metrics, learning rate, degrees turned.

    It reads the scalars that mmengine's LoggerHook leaves, those of the run's earlier parts included.
    """

    # After LoggerHook (BELOW_NORMAL).
    priority = 'LOW'

    def before_val_epoch(self, runner: Runner) -> None:
        # By default LoggerHook writes the epoch beside a validation, which is 0 in a loop over iterations.
        runner.message_hub.update_scalar(f'val/{STEP}', runner.iter)

    def after_train(self, runner: Runner) -> None:
        if is_main_process() and (path := write_curves(Path(runner.work_dir))):
            runner.logger.info(f'refconv_mm: wrote {path}')
