"""FiniteHook: ends a training whose loss is not finite."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..files.errors import DivergedError
from ..openmmlab.models import unwrapped


@HOOKS.register_module(name='RefConvFiniteHook')
class FiniteHook(Hook):
    """Raises a DivergedError after the step whose loss is not finite, and writes no checkpoint with broken weights.

    It reads the number that mmengine has fetched for its log, so it costs nothing. RefConvHook and `refconv train` add
    this hook to a run.
    """

    priority = 'LOW'  # before CheckpointHook
    batch: Any = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.batch = data_batch

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        scalars = {name.removeprefix('train/'): scalar for name, scalar in runner.message_hub.log_scalars.items()}
        losses = {name: scalar.current() for name, scalar in scalars.items() if 'loss' in name}
        if not math.isfinite(losses.get('loss', 0.0)):
            values = ', '.join(f'{name} {value:.3g}' for name, value in losses.items())
            raise self._error(f'{values}; {not_finite(runner) or "the weights are finite"}', runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if broken := not_finite(runner):
            raise self._error(f'no checkpoint is written: {broken}', runner)

    def _error(self, fault: str, runner: Runner) -> DivergedError:
        rates = ', '.join(f'{rate:g}' for rates in runner.optim_wrapper.get_lr().values() for rate in set(rates))
        samples: Any = self.batch.get('data_samples') if isinstance(self.batch, dict) else None
        paths = [str(path) for sample in samples or () if (path := getattr(sample, 'img_path', None))]
        images = f'; images {", ".join(paths[:8])}' if paths else ''
        last = runner.message_hub.runtime_info.get('last_ckpt')
        return DivergedError(
            f'the training diverged at step {runner.iter + 1}: {fault}; learning rate {rates}{images}. '
            + (f'The last checkpoint, {last}, is from before. ' if last else 'There is no checkpoint yet. ')
            + 'A smaller learning rate helps most often; `refconv check-data CONFIG` finds bad boxes and labels.'
        )


def not_finite(runner: Runner) -> str:
    """Names the first parameters of a run that are not finite; '' if there are none."""
    parameters = unwrapped(runner.model).named_parameters()
    names = [name for name, parameter in parameters if not torch.isfinite(parameter).all()]
    return f'{", ".join(names[:3])}{", ..." if names[3:] else ""} not finite' if names else ''
