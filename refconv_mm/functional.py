"""The refocusing transformation and its Gram matrix: tensors in, tensors out.

A convolution kernel `(O, I/g, KH, KW)` is read as one image of `n = O * I/g` channels, each a `KH x KW` slice. The
transformation is a convolution over that image, kernel `m x m`, stride 1, zero padding `m // 2`, in `G = O * I / g**2`
groups of `g` slices (RefConv, arXiv 2310.10563, section 3). For one group let `U` be the im2col of its basis,
`(g*m*m, KH*KW)`, and `F` the map of that convolution as a matrix. The basis is frozen, so `U` is constant:

    Wt = Wb + D,   D = F U        a step of SGD moves D by  -lr (dL/dF) U = -lr (dL/dWt) U'U

The *explicit* form trains `F`, as the released layer does. The *update* form trains `D` itself and multiplies its
gradient by the Gram matrix `U'U`: the same training under SGD (docs/theory.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Geometry(NamedTuple):
    """The numbers that fix a layer's transformation.

    Attributes:
        slices: `n`, the number of 2-d slices in the kernel.
        groups: `G`, how many groups the transformation has.
        width: `g`, slices in a group (the groups of the convolution itself).
        positions: `KH * KW`.
        map_k: `m`, the side of the map.
    """

    slices: int
    groups: int
    width: int
    positions: int
    map_k: int

    @property
    def fan_in(self) -> int:
        """Inputs of one output slice of the map, `g * m * m`."""
        return self.width * self.map_k**2

    @property
    def map_shape(self) -> tuple[int, int, int, int]:
        """Shape of the explicit map, `(n, g, m, m)`."""
        return self.slices, self.width, self.map_k, self.map_k


def geometry(kernel_shape: torch.Size | tuple[int, ...], groups: int, map_k: int) -> Geometry:
    """Geometry of the transformation of a kernel.

    Args:
        kernel_shape: `(O, I/g, KH, KW)`.
        groups: `g` of the convolution.
        map_k: `m`, odd and no larger than the kernel's longer side.

    Raises:
        TypeError: `map_k` is no integer.
        ValueError: `map_k` is even, below 1 or larger than the kernel.
    """
    out_channels, in_per_group, kh, kw = kernel_shape
    check_map_k(map_k)
    if map_k > max(kh, kw):
        raise ValueError(f'map_k={map_k} is larger than the kernel ({kh}x{kw}); use a map_k of at most {max(kh, kw)}')
    slices = out_channels * in_per_group
    return Geometry(slices, slices // groups, groups, kh * kw, map_k)


def check_map_k(map_k: int) -> None:
    """Raises if `map_k` is not an odd number of at least 1."""
    if not isinstance(map_k, int) or isinstance(map_k, bool):
        raise TypeError(f'map_k must be an int, got {map_k!r}')
    if map_k < 1 or map_k % 2 == 0:
        raise ValueError(f'map_k must be odd and at least 1, got {map_k}: an even map has no centre')


def explicit_update(basis: Tensor, explicit: Tensor, groups: int) -> Tensor:
    """`refocus(Wb)` as a convolution over the kernel, the released layer's way.

    Args:
        basis: `(O, I/g, KH, KW)`.
        explicit: rows of the map, the same number for each group: `(n, g, m, m)` for all of them.
        groups: `G` of the transformation.

    Returns:
        `(1, rows, KH, KW)`, one slice for each row of the map.
    """
    image = basis.reshape(1, -1, *basis.shape[2:])
    return F.conv2d(image, explicit, padding=explicit.shape[-1] // 2, groups=groups)


def gram_matrices(basis: Tensor, geo: Geometry) -> Tensor:
    """`U'U` of each group.

    Entry `(p, q)` sums products of the basis at `p + d` and `q + d` over the offsets `d` of the map. So the matrix is
    a sum of shifted copies of the basis' second moments, and `U` is never formed.

    Args:
        basis: `(O, I/g, KH, KW)`.

    Returns:
        `(G, KH*KW, KH*KW)`; float64.
    """
    kh, kw = basis.shape[2:]
    rows = basis.detach().double().reshape(geo.groups, -1, geo.positions)
    moments = (rows.mT @ rows).view(-1, kh, kw, kh, kw)
    total, reach = torch.zeros_like(moments), range(-(geo.map_k // 2), geo.map_k // 2 + 1)
    for dy, dx in itertools.product(reach, reach):
        (y, yd), (x, xd) = _overlap(kh, dy), _overlap(kw, dx)
        total[:, y, x, y, x] += moments[:, yd, xd, yd, xd]
    return total.view(-1, geo.positions, geo.positions)


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """The positions `p` on a side for which `p + offset` is on it too, and those `p + offset`."""
    first, last = max(0, -offset), max(0, size - max(0, offset))
    return slice(first, last), slice(first + offset, max(first, last) + offset)


def mean_diagonal(basis: Tensor, geo: Geometry) -> float:
    """The mean over all diagonals of the Gram matrices: how much faster than a plain kernel a refocused one moves.

    Diagonal entry `p` is the energy of the basis under the map's window at position `p`, so a box filter over the
    squared basis gives it.
    """
    energy = basis.detach().double().square().sum(dim=(0, 1))
    box = energy.new_ones(1, 1, geo.map_k, geo.map_k)
    return F.conv2d(energy[None, None], box, padding=geo.map_k // 2).mean().item() / geo.groups


def gain_factor(basis: Tensor, geo: Geometry, gain: float | None) -> float:
    """The factor on the Gram matrices that makes their diagonals average to `gain`; 1 for None or a zero basis."""
    mean = 0.0 if gain is None else mean_diagonal(basis, geo)
    return gain / mean if gain is not None and mean > 0 else 1.0


# -- the gradient ------------------------------------------------------------------------------------------


def gram_product(grad: Tensor, gram: Tensor) -> Tensor:
    """`(dL/dWt) U'U` with the matrices at hand.

    Args:
        grad: `(O, I/g, KH, KW)`.
        gram: `(G, KH*KW, KH*KW)`, or one matrix for all slices, `(1, KH*KW, KH*KW)`.
    """
    if len(gram) == 1:  # depthwise layers: small enough for the bookkeeping of a batched product to count
        return (grad.reshape(-1, gram.shape[-1]) @ gram[0]).view(grad.shape)
    return (grad.reshape(len(gram), -1, gram.shape[-1]) @ gram).view(grad.shape)


def slice_product(grad: Tensor, basis: Tensor, map_k: int) -> Tensor:
    """`(dL/dWt) U'U` where each slice is a group, `g = 1`; its matrices would be as large as `KH*KW` kernels.

    The gradient of the explicit map, `(dL/dWt) U'`, and then its update: a convolution each, with a group a slice.

    Args:
        grad: `(O, I, KH, KW)`.
        basis: of the same shape.
    """
    slices, pad = basis.shape[0] * basis.shape[1], map_k // 2
    image = basis.reshape(1, slices, *basis.shape[2:])
    weight = image.new_empty(slices, 1, map_k, map_k)  # only its shape counts
    _, of_map, _ = torch.ops.aten.convolution_backward(
        grad.reshape(image.shape), image, weight, None, [1, 1], [pad, pad], [1, 1], False, [0, 0], slices,
        [False, True, False],
    )  # fmt: skip
    return explicit_update(basis, of_map, slices).view(grad.shape)


def precondition(kernel: Tensor, metric: Tensor | None, basis: Tensor | None = None, map_k: int = 0) -> None:
    """Has a hook multiply the gradient of a composed kernel by a metric, before it reaches the trained parameter.

    An autograd function that torch.func accepts takes three times as long.

    Args:
        kernel: `(O, I/g, KH, KW)`, a linear function of the trained parameter.
        metric: Gram matrices `(G, KH*KW, KH*KW)`; or a factor, of no dimension; None for the factor 1.
        basis: without matrices: the kernel whose slices are groups of their own; None for the factor alone.
        map_k: `m`, with a basis.
    """

    def product(grad: Tensor) -> Tensor:
        if _autocasts(grad.device.type):  # the product is as precise as the gradient
            with torch.autocast(grad.device.type, enabled=False):
                return product(grad)
        if metric is not None and metric.ndim:
            return gram_product(grad, metric)
        grad = grad if basis is None else slice_product(grad, basis, map_k)
        return grad if metric is None else grad * metric

    kernel.register_hook(product)


def _autocasts(device: str) -> bool:
    if hasattr(torch, 'get_autocast_dtype'):  # torch 2.4 and newer
        return torch.is_autocast_enabled(device)
    return torch.is_autocast_cpu_enabled() if device == 'cpu' else torch.is_autocast_enabled()


# -- starts ------------------------------------------------------------------------------------------------


def kaiming_rows(geo: Geometry, first: int, last: int, generator: torch.Generator) -> Tensor:
    """The released layer's start, that of `nn.Conv2d`: uniform within `1 / sqrt(g * m * m)`."""
    bound = 1 / math.sqrt(geo.fan_in)
    return torch.empty(geo.groups, last - first, geo.fan_in).uniform_(-bound, bound, generator=generator)


def dirac_rows(geo: Geometry, first: int, last: int, generator: torch.Generator) -> Tensor:
    """The identity map, which returns the kernel unchanged."""
    rows = torch.zeros(geo.groups, last - first, geo.width, geo.map_k**2)
    rows[:, range(last - first), range(first, last), geo.map_k**2 // 2] = 1
    return rows


class Start(NamedTuple):
    """A start of the transformation.

    Attributes:
        rows: makes rows `first` to `last` of each group's map, `(G, last - first, g*m*m)`; None for zeros.
        random: whether it perturbs the kernel by chance. A layer that stands there untrained is not the plain one.
        identity: what the option `identity` must be for it; None for either.
    """

    rows: Callable[[Geometry, int, int, torch.Generator], Tensor] | None
    random: bool = False
    identity: bool | None = None


STARTS = {
    'zero': Start(None, identity=True),
    'kaiming': Start(kaiming_rows, random=True),
    'dirac': Start(dirac_rows, identity=False),
}


def starting_map(geo: Geometry, start: Start, scale: float, seed: int) -> Tensor:
    """The explicit map `(n, g, m, m)` that training starts from.

    Args:
        scale: factor on a random map, the root of the gain's.
    """
    if start.rows is None:
        return torch.zeros(geo.map_shape)
    rows = start.rows(geo, 0, geo.width, torch.Generator().manual_seed(seed)).view(geo.map_shape)
    return rows * scale if start.random else rows


def starting_update(basis: Tensor, geo: Geometry, start: Start, scale: float, seed: int) -> Tensor:
    """The update that the starting map makes, float64; the map itself is never there as a whole.

    Args:
        basis: `(O, I/g, KH, KW)`.
        scale: as in :func:`starting_map`.
    """
    if start.rows is None:
        return torch.zeros_like(basis, dtype=torch.float64)
    generator, cpu = torch.Generator().manual_seed(seed), basis.detach().double().cpu()
    step = max(1, 2**24 // (geo.groups * geo.fan_in))
    parts = []
    for first in range(0, geo.width, step):
        rows = start.rows(geo, first, min(first + step, geo.width), generator).double()
        rows = rows.view(-1, geo.width, geo.map_k, geo.map_k)
        parts.append(explicit_update(cpu, rows, geo.groups).view(geo.groups, -1, geo.positions))
    update = torch.cat(parts, dim=1).view(basis.shape)
    return update * scale if start.random else update
