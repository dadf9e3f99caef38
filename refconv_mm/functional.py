"""The refocusing transformation: tensors in, tensors out.

A convolution kernel `(O, I/g, KH, KW)` is read as one image of `n = O * I/g` channels, each a `KH x KW`
slice. The transformation is a convolution over that image, kernel `m x m`, stride 1, zero padding `m // 2`,
in `G = O * I / g**2` groups of `g` slices (RefConv, arXiv 2310.10563, section 3):

    Wt = Wb + refocus(Wb)

Two forms of it live here. The *explicit* one is the map of that convolution, `(n, g, m, m)`. The *compact*
one uses that the basis never changes: with `U` the im2col of one group, `(g*m*m, KH*KW)`, and the map as a
matrix `F`, the update is `F U`, so only `P = F Q` matters, where `U = Q R` with orthonormal `Q`. `P` has as
many numbers as the kernel, and SGD on `P` is SGD on `F` (DESIGN: "The compact form").
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FORMS = ('explicit', 'compact', 'auto')
INITS = ('zero', 'kaiming', 'dirac')


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
    def rank(self) -> int:
        """Columns of the compact form, the largest rank that `U` can have."""
        return min(self.fan_in, self.positions)

    @property
    def explicit_size(self) -> int:
        return self.slices * self.fan_in

    @property
    def compact_size(self) -> int:
        return self.slices * self.rank

    def resolve(self, form: str) -> str:
        """Turns `'auto'` into the form with fewer parameters, the explicit one on a tie."""
        if form != 'auto':
            return form
        return 'compact' if self.compact_size < self.explicit_size else 'explicit'

    def map_shape(self, form: str) -> tuple[int, ...]:
        """Shape of the trainable map: `(n, g, m, m)` explicit, `(n, r)` compact."""
        if form == 'explicit':
            return (self.slices, self.width, self.map_k, self.map_k)
        return (self.slices, self.rank)


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


def unfold_basis(basis: Tensor, geo: Geometry) -> Tensor:
    """im2col of a basis, group by group.

    Args:
        basis: `(O, I/g, KH, KW)`.
        geo: its geometry.

    Returns:
        `U`, shape `(G, g*m*m, KH*KW)`: the update of group `j` is `F[j] @ U[j]`.
    """
    images = basis.reshape(geo.groups, geo.width, *basis.shape[2:])
    return F.unfold(images, geo.map_k, padding=geo.map_k // 2)


def gain_scale(basis: Tensor, geo: Geometry, gain: float) -> float:
    """The factor on the transformation that makes the diagonals of `U'U` average to `gain`.

    The mean runs over groups and kernel positions. Diagonal entry `k` is the energy of the basis under the
    map's window at position `k`, so a box filter over the squared basis gives it without forming `U`.

    Returns:
        The factor; 1.0 for an all-zero basis, whose update is zero whatever the factor.
    """
    energy = basis.detach().double().square().sum(dim=(0, 1)) / geo.groups
    box = energy.new_ones(1, 1, geo.map_k, geo.map_k)
    diagonal = F.conv2d(energy[None, None], box, padding=geo.map_k // 2)
    mean = diagonal.mean().item()
    return math.sqrt(gain / mean) if mean > 0 else 1.0


def compact_factor(basis: Tensor, geo: Geometry) -> tuple[Tensor, Tensor | None]:
    """Factors `U = Q R`, in float64.

    `R` must follow from the basis alone, for it is not stored: a checkpoint holds `P`, and a machine whose
    LAPACK chose another sign would compute another kernel. So where `U` is taller than wide, `R` is the
    symmetric root of `U'U` (the polar factor, unique), and otherwise `U` itself with `Q` the identity.

    Returns:
        `R`, shape `(G, r, KH*KW)`, and `Q`, shape `(G, g*m*m, r)`, or None where it is the identity.

    Raises:
        ValueError: the basis is not finite.
    """
    if not torch.isfinite(basis).all():
        raise ValueError('the basis holds values that are not finite')
    unfolded = unfold_basis(basis.detach().double(), geo)
    if geo.fan_in <= geo.positions:
        return unfolded, None
    left, sigma, right = torch.linalg.svd(unfolded, full_matrices=False)
    return right.mT @ (sigma[..., None] * right), left @ right


def compact_from_explicit(explicit: Tensor, q: Tensor | None, geo: Geometry) -> Tensor:
    """`P = F Q`; what of `F` lies outside the span of `Q` never reaches the kernel.

    Args:
        explicit: map of shape `(n, g, m, m)`.
        q: from :func:`compact_factor`.

    Returns:
        Map of shape `(n, r)`, float64.
    """
    rows = explicit.double().reshape(geo.groups, geo.width, geo.fan_in)
    return (rows if q is None else rows @ q).reshape(geo.slices, geo.rank)


def explicit_from_compact(compact: Tensor, q: Tensor | None, geo: Geometry) -> Tensor:
    """`F = P Q'`, the smallest map with this update; inverse of :func:`compact_from_explicit` on its image.

    Args:
        compact: map of shape `(n, r)`.

    Returns:
        Map of shape `(n, g, m, m)`, float64.
    """
    rows = compact.double().reshape(geo.groups, geo.width, geo.rank)
    return (rows if q is None else rows @ q.mT).reshape(geo.map_shape('explicit'))


def explicit_update(basis: Tensor, explicit: Tensor, geo: Geometry) -> Tensor:
    """`refocus(Wb)` as a convolution over the kernel, the released layer's way.

    Args:
        basis: `(O, I/g, KH, KW)`.
        explicit: `(n, g, m, m)`.

    Returns:
        The update, of the basis' shape.
    """
    image = basis.reshape(1, geo.slices, *basis.shape[2:])
    update = F.conv2d(image, explicit, padding=geo.map_k // 2, groups=geo.groups)
    return update.view_as(basis)


def compact_kernel(offset: Tensor, compact: Tensor, factor: Tensor, geo: Geometry) -> Tensor:
    """`offset + P R` in one call.

    Args:
        offset: `(O, I/g, KH, KW)`; the basis, or zeros without the identity.
        compact: `P`, `(n, r)`.
        factor: `R`, `(G, r, KH*KW)`.

    Returns:
        The transformed kernel, of the offset's shape.
    """
    return compact_rows(as_rows(offset, geo), compact, factor[0] if geo.groups == 1 else factor).view(offset.shape)


def as_rows(kernel: Tensor, geo: Geometry) -> Tensor:
    """A kernel as `(G, g, KH*KW)`, or as `(g, KH*KW)` where there is one group (depthwise layers)."""
    shape = (geo.groups, geo.width, geo.positions)
    return kernel.reshape(shape[1:] if geo.groups == 1 else shape)


def compact_rows(offset: Tensor, compact: Tensor, factor: Tensor) -> Tensor:
    """`offset + P R` on rows, the least work that a step can do.

    Args:
        offset: from :func:`as_rows`.
        compact: `P`, `(n, r)`.
        factor: `R`, `(G, r, KH*KW)`, or `(r, KH*KW)` where the offset has two dimensions too.

    Returns:
        The transformed kernel, of the offset's shape.
    """
    if offset.ndim == 2:  # depthwise layers: small enough for the bookkeeping of a batched product to count
        return torch.addmm(offset, compact, factor)
    return torch.baddbmm(offset, compact.view(*offset.shape[:2], -1), factor)


def dirac_map(geo: Geometry) -> Tensor:
    """The explicit map that returns the kernel unchanged, `(n, g, m, m)`, float64."""
    eye = torch.eye(geo.width, dtype=torch.float64).repeat(geo.groups, 1)
    return F.pad(eye[:, :, None, None], [geo.map_k // 2] * 4)


def kaiming_rows(geo: Geometry, rows: int, generator: torch.Generator) -> Tensor:
    """`rows` rows of every group of the released layer's start (that of `nn.Conv2d`).

    Returns:
        Shape `(G, rows, g*m*m)`, uniform within `1 / sqrt(g * m * m)`, float32.
    """
    bound = 1 / math.sqrt(geo.fan_in)
    return torch.empty(geo.groups, rows, geo.fan_in).uniform_(-bound, bound, generator=generator)


def starting_map(basis: Tensor, geo: Geometry, form: str, init: str, scale: float, seed: int) -> Tensor:
    """The map that training starts from.

    The compact start is the projection of the explicit one, so both start from the same distribution.

    Args:
        basis: `(O, I/g, KH, KW)`.
        geo: its geometry.
        form: `'explicit'` or `'compact'`.
        init: one of `INITS`.
        scale: factor on the transformation (:func:`gain_scale`); the identity map is divided by it.
        seed: for `'kaiming'`.

    Returns:
        The map, on the CPU.
    """
    if init == 'zero':
        return torch.zeros(geo.map_shape(form))
    q = compact_factor(basis.cpu(), geo)[1] if form == 'compact' else None
    if init == 'dirac':
        if q is None:
            return dirac_map(geo).reshape(geo.map_shape(form)) / scale
        centre = q.view(geo.groups, geo.width, geo.map_k**2, geo.rank)[:, :, geo.map_k**2 // 2]
        return centre.reshape(geo.slices, geo.rank) / scale
    generator = torch.Generator().manual_seed(seed)
    if q is None:
        return kaiming_rows(geo, geo.width, generator).reshape(geo.map_shape(form))
    # The explicit map is what this form exists to avoid: project it some rows at a time.
    step = max(1, 2**24 // (geo.groups * geo.fan_in))
    parts = [kaiming_rows(geo, min(step, geo.width - row), generator).double() @ q for row in range(0, geo.width, step)]
    return torch.cat(parts, dim=1).reshape(geo.slices, geo.rank)
