"""The skeleton of kernels: how large the weights are at each position, and where they grew.

The paper (arXiv 2310.10563, the study of kernel skeletons) finds that refocused kernels are stronger in their centre
and cross. Here a layer's map is the mean of `|w|` over its slices, divided by its own mean over the positions, so 1 is
an even kernel and layers of any scale compare. A second weighting first divides each slice by its own mean: what loud
channels do then counts no more than what faint ones do (batch norm undoes a channel's scale, so that is the one that
can't hinge on it).

    centre    the middle position
    cross     the middle row and column, the centre included (the skeleton of ACNet, arXiv 1908.03930)
    corners   the four outermost positions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..common.kernels import KernelSet
from ..common.layers import describe
from . import SkeletonOptions

REGIONS = ('centre', 'cross', 'corners')
WEIGHTINGS = ('layer', 'slice')


def regions(height: int, width: int) -> dict[str, Tensor]:
    """Masks of `REGIONS`, `(KH, KW)` of bool.

    Raises:
        ValueError: an even side; such a kernel has no centre.
    """
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(f'a {height}x{width} kernel has no centre; both sides must be odd')
    masks = {name: torch.zeros(height, width, dtype=torch.bool) for name in REGIONS}
    masks['centre'][height // 2, width // 2] = True
    masks['cross'][height // 2] = True
    masks['cross'][:, width // 2] = True
    masks['corners'][[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return masks


def magnitude_map(kernel: Tensor, weighting: str = 'layer') -> Tensor:
    """Mean magnitude at each position, relative to the mean over positions.

    Args:
        kernel: `(O, I/g, KH, KW)`, not all zero.
        weighting: `'layer'`, or `'slice'` to let every slice count the same.

    Returns:
        `(KH, KW)`, float64, of mean 1.

    Raises:
        ValueError: an unknown weighting, or a kernel of zeros.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f'weighting must be one of {WEIGHTINGS}, got {weighting!r}')
    sizes = kernel.detach().double().abs().flatten(0, 1)
    if weighting == 'slice':
        means = sizes.mean(dim=(1, 2), keepdim=True)
        sizes = (sizes / means)[means[:, 0, 0] > 0]  # slices of zeros have no shape
    if not sizes.any():
        raise ValueError('the kernel is all zero and has no skeleton')
    mean = sizes.mean(0)
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
    """Map and shares of one kernel, by weighting."""
    maps = {weighting: magnitude_map(kernel, weighting) for weighting in WEIGHTINGS}
    return {weighting: dict(map=relative.tolist(), **shares(relative)) for weighting, relative in maps.items()}


def measure(sets: Sequence[KernelSet], options: SkeletonOptions | None = None) -> dict[str, Any]:
    """Skeletons of every layer of every checkpoint, and their mean over the layers of each kernel size.

    Args:
        sets: matched (:func:`lab.analysis.common.kernels.gather`).

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
    """The mean map of several layers of one kernel size, each counting the same, and its shares; by weighting."""
    result: dict[str, Any] = dict(layers=len(rows))
    for weighting in WEIGHTINGS:
        maps = [row['values'][name][weighting]['map'] for row in rows]
        mean = torch.tensor(maps, dtype=torch.float64).mean(0)
        result[weighting] = dict(map=mean.tolist(), **shares(mean))
    return result
