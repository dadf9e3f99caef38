"""FiniteHook: stops a training, or skips a step of it, in the step in which a loss, a gradient or a weight breaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..files.errors import DivergedError
from ..openmmlab.models import unwrapped

ACTIONS = ('stop', 'skip')
MOST_SKIPPED = 20  # steps in a row


@HOOKS.register_module(name='RefConvFiniteHook')
class FiniteHook(Hook):
    """Checks each step: losses before the backward pass, gradients before they are clipped, weights after the step.

    mmdet's CheckInvalidLossHook looks at the sum of the losses after the step, when the weights are lost. A gradient
    that is finite and far too large is hidden by clipping: its norm overflows, and every gradient becomes zero or NaN.
    RefConvHook and `refconv train` add this hook to a run.

    Args:
        action: `'stop'` raises a DivergedError, before the weights change. `'skip'` leaves the step out and goes on; it
            stops all the same after 20 skipped steps in a row, or if a weight or a statistic of batch norm is not
            finite.
        limit: largest absolute value of a gradient.
        rise: a loss of so many times that of the first step gets a warning, once: batch norm and clipped gradients keep
            a net finite whose learning rate is far too large.
        stop_on_rise: raise a DivergedError instead of the warning.
    """

    priority = 'LOW'  # before CheckpointHook

    def __init__(self, action: str = 'stop', limit: float = 1e10, rise: float = 10, stop_on_rise: bool = False) -> None:
        if action not in ACTIONS:
            raise ValueError(f'action must be one of {ACTIONS}, got {action!r}')
        for name, value in (('limit', limit), ('rise', rise)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f'{name} must be a positive number, got {value!r}')
        self.action, self.limit, self.rise, self.stop_on_rise = action, limit, rise, stop_on_rise
        self.first: float | None = None
        self.skipped, self.losses, self.batch = 0, '', None

    def before_train(self, runner: Runner) -> None:
        self.runner, self.losses, self.skipped = runner, '', 0
        self.handle = unwrapped(runner.model).register_forward_hook(self._after_forward)
        for wrapper in optim_wrappers(runner):
            wrapper.step = self._guarded(wrapper, wrapper.step)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.batch = data_batch

    def after_train(self, runner: Runner) -> None:
        self.handle.remove()
        for wrapper in optim_wrappers(runner):
            del wrapper.step  # the one of its class appears again

    def _after_forward(self, model: nn.Module, inputs: Any, output: Any) -> None:
        if model.training and isinstance(output, dict):
            named = dict(_losses(output))
            bad = {name: value for name, value in named.items() if not math.isfinite(value)}
            if bad:
                said = ', '.join(f'{name} is {value}' for name, value in bad.items())
                self.losses = f'{said} (of the losses {", ".join(named)})'
                if self.action == 'stop':
                    raise self._error(self.losses)
            elif named:
                self._check_rise(named)

    def _check_rise(self, named: dict[str, float]) -> None:
        total = sum(named.values())
        self.first = total if self.first is None else self.first
        if not 0 < self.first * self.rise < total:
            return
        what = f'the loss is {total / self.first:.3g} times that of the first step'
        said, self.first = ', '.join(f'{name} {value:.3g}' for name, value in named.items()), math.inf
        if self.stop_on_rise:
            raise self._error(f'{what} ({said})')
        self._warn(f'{what} ({said})')

    def _guarded(self, wrapper: OptimWrapper, step: Callable[..., None]) -> Callable[..., None]:
        scaler = getattr(wrapper, 'loss_scaler', None)  # mixed precision: it skips steps that overflow by itself

        def guarded(**options: Any) -> None:
            model = unwrapped(self.runner.model)
            limit = self.limit * (scaler.get_scale() if scaler is not None else 1)
            grads = ((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
            bad = [(name, value) for name, value in largest(grads) if not value <= limit]
            if scaler is not None:
                bad = [(name, value) for name, value in bad if math.isfinite(value)]
            what, self.losses = self.losses, ''
            if bad or (what and scaler is not None):
                self._skip_or_stop('; '.join(filter(None, [what, _described(bad, 'the gradient')])))
                if scaler is None:
                    wrapper.optimizer.zero_grad(set_to_none=True)
                else:  # it skips the step itself, and lowers its scale
                    _overflow(model)
                    step(**options)
            else:
                # The decision is about gradients alone: they are the same in all processes, the losses are not.
                if what:
                    self._warn(f'{what}, and the gradients are finite')
                step(**options)
                self.skipped = 0
            state = model.named_parameters(), ((n, b) for n, b in model.named_buffers() if b.is_floating_point())
            broken = [(n, v) for named in state for n, v in largest(named) if not math.isfinite(v)]
            if broken:
                raise self._error(_described(broken, 'the weight or statistic') + ' after the step')

        return guarded

    def _skip_or_stop(self, what: str) -> None:
        self.skipped += 1
        if self.action == 'stop' or self.skipped > MOST_SKIPPED:
            before = f'; {MOST_SKIPPED} steps were skipped before' if self.skipped > 1 else ''
            raise self._error(what + before)
        self._warn(f'skipped: {what}{self._files()}')

    def _warn(self, what: str) -> None:
        self.runner.logger.warning(f'step {self.runner.iter + 1}: {what}; learning rate {self._rates()}')

    def _error(self, what: str) -> DivergedError:
        hub = self.runner.message_hub
        last = hub.get_info('last_ckpt') if 'last_ckpt' in hub.runtime_info else None
        return DivergedError(
            f'the training diverged at step {self.runner.iter + 1}: {what}; learning rate {self._rates()}'
            f'{self._files()}. '
            + (f'The last checkpoint, {last}, is from before. ' if last else 'There is no checkpoint yet. ')
            + 'A smaller learning rate helps most often; `refconv check-data CONFIG` finds bad boxes and labels.'
        )

    def _rates(self) -> str:
        return ', '.join(f'{rate:g}' for rates in self.runner.optim_wrapper.get_lr().values() for rate in set(rates))

    def _files(self) -> str:
        samples: Any = self.batch.get('data_samples') if isinstance(self.batch, dict) else None
        paths = [str(path) for sample in samples or () if (path := getattr(sample, 'img_path', None))]
        return f'; images {", ".join(paths[:8])}' + (', ...' if len(paths) > 8 else '') if paths else ''


def optim_wrappers(runner: Runner) -> list[OptimWrapper]:
    """The optimizer wrapper of a run, or each of several."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, dict) else getattr(wrapper, 'optim_wrappers', {}).values()
    return list(wrappers) or [wrapper]


def largest(named: Iterable[tuple[str, Tensor]]) -> list[tuple[str, float]]:
    """The largest absolute value of each tensor, NaN if it has one; the values are fetched from the device at once."""
    # Of a DTensor the local part.
    local = [(name, t.to_local() if hasattr(t, 'to_local') else t) for name, t in named]
    local = [(name, t) for name, t in local if t.numel()]
    if not local:
        return []
    values = torch.stack([t.detach().abs().amax().float().to(local[0][1].device) for _, t in local]).tolist()
    return [(name, value) for (name, _), value in zip(local, values, strict=True)]


def _overflow(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(math.inf)


def _losses(output: dict) -> Iterator[tuple[str, float]]:
    """The losses of a forward pass by name, each reduced as mmengine does."""
    for name, value in output.items():
        tensors = value if isinstance(value, list | tuple) else [value]
        if 'loss' in name and all(isinstance(each, Tensor) for each in tensors):
            yield name, float(sum(each.detach().float().mean() for each in tensors))


def _described(named: list[tuple[str, float]], what: str) -> str:
    if not named:
        return ''
    name, value = named[0]
    return f'{what} of {name} is {value:g}' + (f', and {len(named) - 1} others are like it' if len(named) > 1 else '')
