"""Data-parallel training: the bytes that a step sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from refconv_mm.openmmlab.models import unwrapped


def gradient_bytes(model: nn.Module, step: Callable[[nn.Module], Any]) -> int:
    """Bytes of gradients that a process passes to the all-reduce in a data-parallel training step.

    A communication hook of DistributedDataParallel counts them; it sends none, so one process is enough.

    Args:
        model: not wrapped yet. Afterwards its parameters hold the gradients of this step.
        step: called with the wrapped model; does forward and backward once.

    Raises:
        TypeError: `model` is not a module.
        ValueError: `model` is wrapped or has no trainable parameter, or the step leaves parameters without a gradient.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be an nn.Module, got {type(model).__name__}')
    if unwrapped(model) is not model:
        raise ValueError(f'model must not be wrapped, got a {type(model).__name__}')
    silent = {id(p) for p in model.parameters() if p.requires_grad}
    if not silent:
        raise ValueError('model must have a parameter that requires a gradient, got none')
    counted = 0

    def count(_, bucket):  # torch reads annotations and does not support those of `from __future__`
        nonlocal counted
        counted += bucket.buffer().nbytes
        silent.difference_update(map(id, bucket.parameters()))
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    model.zero_grad()
    with _group_of_one() as group:
        wrapped = DistributedDataParallel(model, process_group=group, broadcast_buffers=False)
        wrapped.register_comm_hook(None, count)
        step(wrapped)
    if silent:  # a bucket that waits for one parameter is not counted
        missing = ', '.join(name for name, p in model.named_parameters() if p.requires_grad and p.grad is None)
        raise ValueError(f'step must give every parameter a gradient; these have none: {missing or "(cleared again)"}')
    return counted


@contextmanager
def _group_of_one() -> Iterator[dist.ProcessGroup]:
    """A gloo group of this process alone; it is the default group if there is none yet."""
    if dist.is_initialized():  # only its single member makes it; the other processes do not take part
        group = dist.new_group([dist.get_rank()], backend='gloo', use_local_synchronization=True)
    else:
        dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
        group = dist.group.WORLD
    try:
        yield group
    finally:
        dist.destroy_process_group(group)
