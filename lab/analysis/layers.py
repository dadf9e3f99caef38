"""One layer's kernel `(O, I/g, KH, KW)`: its kind, its channels, its geometry, its change."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Geometry(NamedTuple):
    """A kernel's `n` slices of `P` positions in `G` groups of `g` (width), under a map of side `m`."""

    slices: int
    groups: int
    width: int
    positions: int
    map_k: int


def shape_kind(kernel: Tensor) -> str:
    """`'depthwise'` or `'dense'`, as far as the shape tells."""
    return 'depthwise' if kernel.shape[1] == 1 else 'dense'


def describe(kernel: Tensor) -> str:
    """For tables: `'3x3 depthwise, 96'`."""
    out_channels, per_group, kh, kw = kernel.shape
    width = f'{out_channels}' if per_group == 1 else f'{per_group}->{out_channels}'
    return f'{kh}x{kw} {shape_kind(kernel)}, {width}'


def channel_rows(kernel: Tensor) -> Tensor:
    """One row for each output channel, `(O, I/g * KH * KW)` in float64: a slice if depthwise, else a whole filter."""
    return kernel.flatten(1).double()


def sample(count: int, most: int, seed: int = 0) -> Tensor:
    """`most` of the numbers below `count`, drawn with a seed, in ascending order; all of them if they are fewer."""
    if count <= most:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:most].sort().values


def geometry_of(kernel: Tensor, map_k: int) -> Geometry:
    """The geometry of a layer, which its shape tells if it is depthwise or dense."""
    longer = max(kernel.shape[2:])
    side = min(map_k, longer - (longer + 1) % 2)  # the largest odd side that fits
    groups, slices = len(kernel) if kernel.shape[1] == 1 else 1, len(kernel) * kernel.shape[1]
    return Geometry(slices, slices // groups, groups, kernel[0, 0].numel(), side)


def without_scaling(before: Tensor, after: Tensor) -> tuple[Tensor, float, float]:
    """A kernel without its scaling as a whole.

    Returns:
        `after - c * before`, where `c * before` fits `after - before` best; `c`; and its share of the update's energy.
    """
    start, update = before.detach().double(), after.detach().double() - before.detach().double()
    factor = ((update * start).sum() / start.square().sum()).item()
    energy = update.square().sum().item()
    share = factor**2 * start.square().sum().item() / energy if energy else 0.0
    return after.detach().double() - factor * start, factor, share
