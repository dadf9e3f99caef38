"""Units in which the displacement of a weight is measured; the unit decides what 'sharp' means.

    raw       absolute, all parameters. A filter scaled up before a batch norm looks flatter by the square of the
              factor, though the net computes the same.
    filter    in units of the norm of the weight's filter, a slice along the first dimension, as the directions of Li et
              al. 2018 (arXiv 1712.09913) are. One-dimensional parameters (biases, batch norm) have no filter and stay
              fixed, as there. Unchanged by a filter scaled by c whose scale something else takes out again: batch norm,
              or all the filters of the next layer at once.
    element   in units of the weight's own magnitude, as ASAM (Kwon et al. 2021, arXiv 2102.11600, section 3) measures;
              one-dimensional parameters fixed too. Unchanged also where one channel is scaled by c and the weights that
              read it by 1/c.

The three agree up to a diagonal matrix S: a displacement is `S u`, and `u` is what has a length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from .text import some

UNITS = dict(
    raw='absolute, all parameters',
    filter="relative to the norm of the weight's filter, one-dimensional parameters fixed",
    element="relative to the weight's own magnitude, one-dimensional parameters fixed",
)


@dataclass
class Scales:
    """Parameters that may move, and the unit of displacement of each.

    Attributes:
        unit: one of `UNITS`.
        parameters: by name, what may move.
        scales: the diagonal of S, for each parameter a tensor that broadcasts to it; not negative.
    """

    unit: str
    parameters: dict[str, nn.Parameter]
    scales: list[Tensor]

    @property
    def tensors(self) -> list[nn.Parameter]:
        return list(self.parameters.values())

    @property
    def count(self) -> int:
        """How many numbers may move."""
        return sum(p.numel() for p in self.tensors)


def make_scales(model: nn.Module, unit: str, globs: Sequence[str] = ('*',)) -> Scales:
    """The unit of every trainable parameter whose name matches a glob, at the weights that the model has now.

    Raises:
        ValueError: an unknown unit, or no parameter that it can measure.
    """
    if unit not in UNITS:
        raise ValueError(f'unit must be one of {tuple(UNITS)}, got {unit!r}')
    own = {name: p for name, p in model.named_parameters() if p.requires_grad and p.is_floating_point()}
    chosen = {name: p for name, p in own.items() if any(fnmatchcase(name, glob) for glob in globs)}
    if not chosen:
        raise ValueError(f'--params {" ".join(globs)} matches no trainable parameter; there are: {some(list(own))}')
    if unit != 'raw':
        flat, chosen = list(chosen), {name: p for name, p in chosen.items() if p.ndim > 1}
        if not chosen:
            raise ValueError(f'--params {" ".join(globs)} matches no filter, only one-dimensional {some(flat)}')
    return Scales(unit, chosen, [scale_of(p.detach(), unit) for p in chosen.values()])


def scale_of(weight: Tensor, unit: str) -> Tensor:
    """The part of the diagonal of S of a parameter `(O, ...)`; in a memory of its own.

    Returns:
        Ones `(1, ...)`, norms `(O, 1, ...)` or magnitudes `(O, ...)`.
    """
    if unit == 'raw':
        return torch.ones([1] * weight.ndim, dtype=weight.dtype, device=weight.device)
    if unit == 'filter':
        return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
    return weight.abs()
