"""The skeleton of kernels: how large the weights are at each position, and where they grew.

The paper (arXiv 2310.10563, the study of kernel skeletons) finds that refocused kernels are stronger in their centre
and cross. Here a layer's map is the mean of `|w|` over its slices, divided by its own mean over the positions, so 1 is
an even kernel and layers of any scale compare.

    centre    the middle position
    cross     the middle row and column, the centre included (the skeleton of ACNet, arXiv 1908.03930)
    corners   the four outermost positions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .kernels import KernelSet
from .layers import describe

REGIONS = ('centre', 'cross', 'corners')


def regions(height: int, width: int) -> dict[str, Tensor]:
    """Masks of `REGIONS`, `(KH, KW)` of bool, for odd sides."""
    masks = {name: torch.zeros(height, width, dtype=torch.bool) for name in REGIONS}
    masks['centre'][height // 2, width // 2] = True
    masks['cross'][height // 2] = True
    masks['cross'][:, width // 2] = True
    masks['corners'][[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return masks


def magnitude_map(kernel: Tensor) -> Tensor:
    """Mean magnitude at each position, `(KH, KW)`, relative to the mean over positions.

    Args:
        kernel: `(O, I/g, KH, KW)`, not all zero.
    """
    mean = kernel.detach().double().abs().mean((0, 1))
    return mean / mean.mean()


def shares(relative: Tensor) -> dict[str, dict[str, float]]:
    """How much of a map's magnitude lies in each region.

    Args:
        relative: `(KH, KW)`, from :func:`magnitude_map`.

    Returns:
        By region: `share` of the whole magnitude (0 to 1), and `relative`, the mean within the region, where 1 is that
        of an even kernel.
    """
    masks = regions(*relative.shape)
    return {
        name: dict(share=(relative[mask].sum() / relative.sum()).item(), relative=relative[mask].mean().item())
        for name, mask in masks.items()
    }


def skeleton_of(kernel: Tensor) -> dict[str, Any]:
    """Map and shares of one kernel."""
    relative = magnitude_map(kernel)
    return dict(map=relative.tolist(), **shares(relative))


def measure(sets: Sequence[KernelSet]) -> dict[str, Any]:
    """Skeletons of every layer of every checkpoint, and their mean over the layers of each kernel size.

    Args:
        sets: matched (:func:`lab.analysis.kernels.gather`).

    Returns:
        Ready for JSON: `layers`, with `values` by checkpoint; `net`, by kernel size and checkpoint; `skipped`, the
        reason by layer.

    Raises:
        ValueError: no layer is left.
    """
    layers, skipped = [], {}
    for layer, kernel in sets[0].kernels.items():
        height, width = kernel.shape[2:]
        if height % 2 == 0 or width % 2 == 0:
            skipped[layer] = f'{height}x{width}: no centre'
        elif zero := [each.name for each in sets if not each.kernels[layer].any()]:
            skipped[layer] = f'all zero in {", ".join(zero)}'
        else:
            values = {each.name: skeleton_of(each.kernels[layer]) for each in sets}
            layers.append(dict(layer=layer, kernel=describe(kernel), size=f'{height}x{width}', values=values))
    if not layers:
        raise ValueError(f'no layer has a skeleton: {"; ".join(f"{k}: {v}" for k, v in skipped.items())}')
    sizes = {row['size']: [each for each in layers if each['size'] == row['size']] for row in layers}
    net = {size: {each.name: mean_of(rows, each.name) for each in sets} for size, rows in sizes.items()}
    return dict(checkpoints=[each.record for each in sets], layers=layers, net=net, skipped=skipped)


def mean_of(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """The mean map of several layers of one kernel size, each counting the same, and its shares."""
    mean = torch.tensor([row['values'][name]['map'] for row in rows], dtype=torch.float64).mean(0)
    return dict(layers=len(rows), map=mean.tolist(), **shares(mean))
