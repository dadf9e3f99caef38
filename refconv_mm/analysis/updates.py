"""What training did to a kernel: how far it turned, and what scaled it as a whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def without_scaling(before: Tensor, after: Tensor) -> tuple[Tensor, float, float]:
    """A kernel without what scaled it as a whole.

    Returns:
        `after - c * before`, where `c * before` fits `after - before` best; `c`; and its share of the update's energy.
    """
    start, update = before.detach().double(), after.detach().double() - before.detach().double()
    factor = ((update * start).sum() / start.square().sum()).item()
    energy = update.square().sum().item()
    share = factor**2 * start.square().sum().item() / energy if energy else 0.0
    return after.detach().double() - factor * start, factor, share


def turned(before: Tensor, after: Tensor) -> float:
    """By how many degrees the slices of a kernel turned, the median: all that batch norm sees of a depthwise one."""
    one, other = (F.normalize(kernel.detach().double().flatten(0, 1).flatten(1)) for kernel in (before, after))
    # Not from the cosine, which near 1 has no digits left.
    return torch.rad2deg(2 * torch.atan2((one - other).norm(dim=1), (one + other).norm(dim=1))).median().item()
