"""One layer's kernel `(O, I/g, KH, KW)`: its kind, its channels, how it is refocused, what training did to it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor

from refconv_mm.checkpoints.fusing import build_model
from refconv_mm.surgery import named_refconvs


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


def sample(count: int, most: int, seed: int) -> Tensor:
    """`most` of the numbers below `count`, drawn with a seed, in ascending order; all of them if they are fewer."""
    if count <= most:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:most].sort().values


def settings_of(cfg: Config | None) -> dict[str, tuple[int, int, float | None]]:
    """Groups, map_k and gain of every RefConv layer of a config's model, by name; nothing without a config.

    Raises:
        ValueError: the config has no RefConv layer.
    """
    layers = named_refconvs(build_model(cfg)) if cfg is not None else []
    if cfg is not None and not layers:
        raise ValueError('--config is plain and says nothing of refocusing: pass the refocused one, or none')
    return {name: (layer.groups, layer.options.map_k, layer.options.gain) for name, layer in layers}


def layer_settings(
    kernel: Tensor, known: tuple[int, int, float | None] | None, map_k: int
) -> tuple[Geometry, float | None]:
    """Geometry and gain of a layer; guessed from the shape where no config knows it: depthwise or dense."""
    groups, side, gain = known or (len(kernel) if kernel.shape[1] == 1 else 1, map_k, None)
    if known is None:
        longer = max(kernel.shape[2:])
        side = min(side, longer - (longer + 1) % 2)  # the largest odd side that fits
    slices = len(kernel) * kernel.shape[1]
    return Geometry(slices, slices // groups, groups, kernel[0, 0].numel(), side), gain


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
