"""The angle between kernels and bases, by which a gain is chosen (docs/recipes.md)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..surgery import named_refconvs


def angle_between(one: Tensor, other: Tensor) -> float:
    """The median angle between the slices of two kernels, in degrees; behind batch norm nothing else of them acts."""
    a, b = (F.normalize(kernel.detach().double().flatten(0, 1).flatten(1)) for kernel in (one, other))
    # Not from the cosine, which near 1 has no digits left.
    return torch.rad2deg(2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1))).median().item()


@torch.no_grad()
def mean_angle(model: nn.Module) -> float | None:
    """The angle between basis and kernel, the mean over a model's RefConv layers; None if the model has none."""
    angles = [angle_between(layer.basis, layer.weight) for _, layer in named_refconvs(model)]
    return sum(angles) / len(angles) if angles else None
