"""Data-parallel training: what a step sends, and the whole weights of a sharded model."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .surgery import bare


def gradient_bytes(model: nn.Module, step: Callable[[nn.Module], Any]) -> int:
    """Bytes of gradients that a process hands to the all-reduce in a data-parallel training step.

    Counted where they are handed over: in a communication hook of DistributedDataParallel, which is given every
    bucket and sends none. So one process is enough, and nothing else of a distributed run is needed; where a
    process group exists, each process may call this alone.

    Args:
        model: any model that is not wrapped yet. Afterwards its parameters hold the gradients of this step.
        step: called with the wrapped model; does forward and backward, once.

    Raises:
        TypeError: `model` is no module.
        ValueError: `model` is wrapped or has nothing to train; or the step leaves parameters without a gradient,
            so DistributedDataParallel would need `find_unused_parameters`, and the count would be too low.

    Example:
        >>> model = nn.Conv2d(3, 4, 3, bias=False)
        >>> gradient_bytes(model, lambda wrapped: wrapped(torch.randn(1, 3, 8, 8)).sum().backward())
        432
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be an nn.Module, got {type(model).__name__}')
    if bare(model) is not model:
        raise ValueError(f'model must be the bare one, got it wrapped in {type(model).__name__}')
    silent = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    if not silent:
        raise ValueError('model must have something to train, got no parameter that requires a gradient')
    counted = 0

    def count(_, bucket):  # torch looks at annotations and can't read those of `from __future__`
        nonlocal counted
        counted += bucket.buffer().nbytes
        for parameter in bucket.parameters():
            silent.pop(id(parameter), None)
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    model.zero_grad()
    with _group_of_one() as group:
        wrapped = _wrap(model, group)
        wrapped.register_comm_hook(None, count)
        step(wrapped)
    if silent:  # a bucket that waits for one parameter holds back its others
        missing = ', '.join(name for name, p in model.named_parameters() if p.requires_grad and p.grad is None)
        raise ValueError(f'step must give every parameter a gradient; without one: {missing or "(cleared again)"}')
    return counted


def _wrap(model: nn.Module, group: dist.ProcessGroup) -> DistributedDataParallel:
    with warnings.catch_warnings():
        # As mmengine wraps; torch 2.14 would like to hear another name for it, which older ones don't know.
        warnings.simplefilter('ignore', FutureWarning)
        return DistributedDataParallel(model, process_group=group, broadcast_buffers=False)


@contextmanager
def _group_of_one() -> Iterator[dist.ProcessGroup]:
    """A gloo group of this process alone, beside the default group or, where there is none, in its place."""
    if dist.is_initialized():
        # Made by its only member: the other processes need not take part.
        group = dist.new_group([dist.get_rank()], backend='gloo', use_local_synchronization=True)
    else:
        dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
        group = dist.group.WORLD
    try:
        yield group
    finally:
        dist.destroy_process_group(group)


def whole_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a model under FSDP2 (`fully_shard`), every shard put together; all processes must call it.

    It loads into the same model unsharded, which can then be fused. torch's `get_model_state_dict` does not do
    here: it asks each layer for its `.weight`, which a RefConv layer would have to compute from a shard.
    """
    state = model.state_dict()
    # DTensor, by what it can do: its module is not part of every build of torch.
    whole = OrderedDict((k, v.full_tensor() if hasattr(v, 'full_tensor') else v) for k, v in state.items())
    whole._metadata = getattr(state, '_metadata', OrderedDict())  # type: ignore[attr-defined]
    return whole
