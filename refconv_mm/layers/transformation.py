"""The refocusing transformation and its root form: tensors in, tensors out (RefConv, arXiv 2310.10563, section 3).

A kernel `(O, I/g, KH, KW)` is read as one image of `n = O * I/g` channels, each a slice of `P = KH * KW` positions. The
transformation is a convolution over that image, kernel `m x m`, stride 1, zero padding `m // 2`, in `G = n / g` groups
of `g` slices. For one group let `U` be the im2col of its basis, `(g*m*m, P)`, and `F` the map as a matrix. The basis is
frozen, so `U` is constant, and so is the symmetric root `A` of its Gram matrix, `A'A = U'U`:

    Wt = Wb + F U  (the map trains)        Wt = Wb + V A  (the root form: V trains)

`V` is the acting part of `F` in orthonormal coordinates. So both are one training under SGD, momentum, weight decay,
averaging, clipping by norm: whatever does not depend on the coordinates (docs/theory.md).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def shapes(basis: Tensor, groups: int, map_k: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the trained parameter and the root: those of `V` and `A`, `(G, P, P)`.

    Where the map is no larger than the kernel, `g*m*m <= P`, it trains itself: `(n, g, m, m)` and `()`.
    """
    slices, positions = basis.shape[0] * basis.shape[1], basis[0, 0].numel()
    if groups * map_k**2 <= positions:
        return (slices, groups, map_k, map_k), ()
    return tuple(basis.shape), (slices // groups, positions, positions)


def refocused_kernel(basis: Tensor, trained: Tensor, root: Tensor, identity: bool = True) -> Tensor:
    """Computes `Wt = Wb + V A` or, beside a scalar root `s`, `Wt = Wb + s F(Wb)`; without the identity no `Wb +`.

    Args:
        basis: `Wb`, `(O, I/g, KH, KW)`.
        trained: `V`, of the basis' shape, or the map, `(n, g, m, m)`.
        root: `A`, `(G, P, P)`, or `s`, `()`.
    """
    if root.ndim == 0:
        update = apply_map(basis, trained)
        return torch.addcmul(basis, update, root) if identity else update * root
    rows = trained.reshape(len(root), -1, root.shape[-1])
    kernel = torch.baddbmm(basis.reshape(rows.shape), rows, root) if identity else rows @ root
    return kernel.view(basis.shape)


def apply_map(basis: Tensor, kernel_map: Tensor) -> Tensor:
    """Computes `F(Wb)`, the convolution of a map `(n, g, m, m)` over the kernel; of the kernel's shape."""
    slices, width, map_k, _ = kernel_map.shape
    image = basis.reshape(1, slices, *basis.shape[2:])
    return F.conv2d(image, kernel_map, padding=map_k // 2, groups=slices // width).view(basis.shape)


def gram_matrices(basis: Tensor, groups: int, map_k: int) -> Tensor:
    """Computes `U'U` of each group, `(G, P, P)` in float64."""
    images = basis.detach().double().reshape(-1, groups, *basis.shape[2:])
    unfolded = F.unfold(images, map_k, padding=map_k // 2)
    return unfolded.mT @ unfolded


def gain_scale(basis: Tensor, groups: int, map_k: int, gain: float | None) -> float:
    """Computes the factor on the roots that makes `gain` the mean diagonal of `A'A`; 1 for None or a zero basis.

    Diagonal entry `p` is the energy of the basis under the map's window at position `p`, summed by a box filter.
    """
    energy = basis.detach().double().square().sum(dim=(0, 1))[None, None]
    sums = F.conv2d(energy, energy.new_ones(1, 1, map_k, map_k), padding=map_k // 2)
    mean = sums.mean().item() * groups / (len(basis) * basis.shape[1])
    return math.sqrt(gain / mean) if gain is not None and mean > 0 else 1.0


def make_roots(basis: Tensor, groups: int, map_k: int, gain: float | None) -> tuple[Tensor, Tensor]:
    """Computes the symmetric roots `A` of a basis and their pseudo-inverses; beside a map, `s` and `1 / s`.

    The rank can be short (18 of 25 in a grouped 5x5 layer of two
    slices): eigenvalues below `P * eps * max` count as 0.

    Returns:
        Two of `(G, P, P)` or `()`, float64 on the CPU; zeros for a basis without values, or with values not finite.
    """
    none = torch.zeros(shapes(basis, groups, map_k)[1], dtype=torch.float64, device='cpu')
    if not has_values(basis) or not torch.isfinite(basis).all():
        return none, none
    exact = basis.detach().cpu().double()
    scale = gain_scale(exact, groups, map_k, gain)
    if none.ndim == 0:
        return none + scale, none + 1 / scale
    values, vectors = torch.linalg.eigh(gram_matrices(exact, groups, map_k))
    acts = values > values.shape[-1] * torch.finfo(values.dtype).eps * values[:, -1:].clamp_min(0)
    roots = torch.where(acts, values, 0).sqrt() * scale
    inverse = torch.where(acts, 1 / roots, 0)
    return (vectors * roots[:, None]) @ vectors.mT, (vectors * inverse[:, None]) @ vectors.mT


def coordinates(kernel_map: Tensor, basis: Tensor, inverse: Tensor) -> Tensor:
    """Computes the trained parameter whose update is `F(Wb)`: `F / s`, or `V = (F U) A^+`, which is exact; float64.

    Args:
        kernel_map: `F`, `(n, g, m, m)`, float64 on the CPU.
        inverse: `A^+` or `1 / s`, of :func:`make_roots` with this `m`.
    """
    if inverse.ndim == 0:
        return kernel_map * inverse
    update = apply_map(basis.detach().cpu().double(), kernel_map)
    return (update.reshape(len(inverse), -1, inverse.shape[-1]) @ inverse).view(basis.shape)


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has numbers; those on meta and those of FakeTensorMode have none."""
    return type(tensor) in (Tensor, torch.nn.Parameter) and not tensor.is_meta


def initial_map(init: str, slices: int, groups: int, map_k: int) -> Tensor:
    """Makes the map that training starts from, `(n, g, m, m)`, float64.

    Args:
        init: `'zero'`; `'dirac'`, the identity; or `'kaiming'`, as released: uniform within `1 / sqrt(g * m * m)`.
    """
    kernel_map = torch.zeros(slices, groups, map_k, map_k, dtype=torch.float64, device='cpu')
    if init == 'dirac':
        rows = torch.arange(slices, device='cpu')
        kernel_map[rows, rows % groups, map_k // 2, map_k // 2] = 1
    elif init == 'kaiming':
        bound = 1 / math.sqrt(groups * map_k**2)
        kernel_map.uniform_(-bound, bound)
    return kernel_map
