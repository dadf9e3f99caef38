"""FiniteHook: ends a training whose loss is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..files.errors import DivergedError
from ..openmmlab.models import unwrapped

RISE = 10


@HOOKS.register_module(name='RefConvFiniteHook')
class FiniteHook(Hook):
    """Raises a DivergedError in the step whose loss is not finite, and writes no checkpoint with broken weights.

    On a CPU the loss is checked before the step changes the weights. An accelerator would have to wait for that; there,
    the hook reads the number that mmengine has fetched for its log after the step. A loss of ten times that of the
    first step gets a warning, once. RefConvHook and `refconv train` add this hook to a run.
    """

    priority = 'LOW'  # before CheckpointHook
    batch: Any = None

    def before_train(self, runner: Runner) -> None:
        self.runner = runner
        self.first: float | None = None
        self.handle = unwrapped(runner.model).register_forward_hook(self._after_forward)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.batch = data_batch

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        scalars = {name.removeprefix('train/'): scalar for name, scalar in runner.message_hub.log_scalars.items()}
        self._check({name: scalar.current() for name, scalar in scalars.items() if 'loss' in name})

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if broken := not_finite(dict(unwrapped(runner.model).named_parameters())):
            raise self._error(f'no checkpoint is written: {broken}', runner)

    def after_train(self, runner: Runner) -> None:
        self.handle.remove()

    def _after_forward(self, model: nn.Module, inputs: Any, output: Any) -> None:
        is_loss = model.training and isinstance(output, dict) and any('loss' in name for name in output)
        if is_loss and next(model.parameters()).device.type == 'cpu':
            _, named = model.parse_losses(output)
            self._check({name: float(value) for name, value in named.items() if 'loss' in name})

    def _check(self, losses: Mapping[str, float]) -> None:
        total, said = losses.get('loss', 0.0), ', '.join(f'{name} {value:.3g}' for name, value in losses.items())
        if not math.isfinite(total):
            tensors = dict(unwrapped(self.runner.model).named_parameters())
            tensors |= {f'the gradient of {name}': p.grad for name, p in tensors.items() if p.grad is not None}
            raise self._error(f'{said}; {not_finite(tensors) or "the weights are finite"}', self.runner)
        self.first = total if self.first is None else self.first
        if 0 < self.first * RISE < total:
            rise = f'the loss is {total / self.first:.3g} times that of the first step ({said})'
            self.runner.logger.warning(f'step {self.runner.iter + 1}: {rise}; {self._circumstances(self.runner)}')
            self.first = math.inf

    def _error(self, fault: str, runner: Runner) -> DivergedError:
        last = runner.message_hub.runtime_info.get('last_ckpt')
        return DivergedError(
            f'the training diverged at step {runner.iter + 1}: {fault}; {self._circumstances(runner)}. '
            + (f'The last checkpoint, {last}, is from before. ' if last else 'There is no checkpoint yet. ')
            + 'A smaller learning rate helps most often; `refconv check-data CONFIG` finds bad boxes and labels.'
        )

    def _circumstances(self, runner: Runner) -> str:
        rates = ', '.join(f'{rate:g}' for rates in runner.optim_wrapper.get_lr().values() for rate in set(rates))
        samples: Any = self.batch.get('data_samples') if isinstance(self.batch, dict) else None
        paths = [str(path) for sample in samples or () if (path := getattr(sample, 'img_path', None))]
        return f'learning rate {rates}' + (f'; images {", ".join(paths[:8])}' if paths else '')


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Names the first tensors that are not finite; '' if there are none."""
    names = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    return f'{", ".join(names[:3])}{", ..." if names[3:] else ""} not finite' if names else ''
