"""By how many degrees refocusing turned the kernels, the number by which a gain is chosen (docs/recipes.md)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..surgery import named_refconvs


def turned(before: Tensor, after: Tensor) -> float:
    """By how many degrees the slices of a kernel turned, the median: all that batch norm sees of a depthwise one."""
    one, other = (F.normalize(kernel.detach().double().flatten(0, 1).flatten(1)) for kernel in (before, after))
    # Not from the cosine, which near 1 has no digits left.
    return torch.rad2deg(2 * torch.atan2((one - other).norm(dim=1), (one + other).norm(dim=1))).median().item()


@torch.no_grad()
def turned_so_far(model: nn.Module) -> float | None:
    """Degrees between bases and kernels of a model, the mean over its RefConv layers; None if it has none."""
    angles = [turned(layer.basis, layer.weight) for _, layer in named_refconvs(model)]
    return sum(angles) / len(angles) if angles else None
