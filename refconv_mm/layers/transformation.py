"""The refocusing transformation and its root form: tensors in, tensors out (RefConv, arXiv 2310.10563, section 3).

A kernel `(O, I/g, KH, KW)` is read as one image of `n = O * I/g` channels, each a slice of `P = KH * KW` positions. The
transformation is a convolution over that image, kernel `m x m`, stride 1, zero padding `m // 2`, in `G = n / g` groups
of `g` slices. For one group let `U` be the im2col of its basis, `(g*m*m, P)`, and `F` the map as a matrix. The basis is
frozen, so `U` is constant, and so is the symmetric root `A` of its Gram matrix, `A'A = U'U` (`'` is the transpose):

    Wt = Wb + F U  (the map trains)        Wt = Wb + V A  (the root form: V trains; docs/theory.md)
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .options import RefConvOptions


def shapes(basis: Tensor, groups: int, map_k: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the trained parameter and the root: those of `V` and `A`, `(G, P, P)`. A ValueError for other kernels.

    Where the map is no larger than the kernel, `g*m*m <= P`, the map trains: `(n, g, m, m)` and `()`.
    """
    if max(basis.shape[2:]) < max(2, map_k) or basis.is_complex() or not basis.numel():
        raise ValueError(f'RefConv takes real kernels of at least 2x1 and map_k, got {basis.dtype} of {[*basis.shape]}')
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
    shape = root.shape
    if not shape:
        update = apply_map(basis, trained).contiguous()  # some convolutions fail on the strides of mixed layouts
        return torch.addcmul(basis.contiguous(), update, root) if identity else update * root
    if trained.stride(1) == 1 == trained.shape[1]:  # a depthwise layer in channels_last
        trained = trained.permute(0, 2, 3, 1)  # then its gradient has its strides, which DDP's buckets want
    rows = trained.reshape(shape[0], -1, shape[2])
    kernel = torch.baddbmm(basis.reshape_as(rows), rows, root) if identity else rows @ root
    return kernel.view_as(basis)


def apply_map(basis: Tensor, kernel_map: Tensor) -> Tensor:
    """Computes `F(Wb)`, the convolution of a map `(n, g, m, m)` over the kernel; of the kernel's shape."""
    slices, width, map_k, _ = kernel_map.shape  # traced by jit.trace: torch 2.6 wants two of them as padding
    image = basis.reshape(1, slices, *basis.shape[2:])
    return F.conv2d(image, kernel_map, padding=(map_k // 2,) * 2, groups=slices // width).reshape(basis.shape)


def gram_matrices(basis: Tensor, groups: int, map_k: int) -> Tensor:
    """Computes `U'U` of each group, `(G, P, P)` in float64."""
    images = basis.detach().double().reshape(-1, groups, *basis.shape[2:])
    unfolded = F.unfold(images, map_k, padding=map_k // 2)
    return unfolded.mT @ unfolded


def mean_diagonal(basis: Tensor, groups: int, map_k: int) -> Tensor:
    """Computes the diagonal of `U'U`, averaged over the groups, `(P,)` in float64: a box filter over the energy."""
    energy = basis.detach().cpu().double().square().sum(dim=(0, 1))[None, None]
    return F.avg_pool2d(energy, map_k, 1, map_k // 2, divisor_override=1).flatten() * groups / basis.shape[:2].numel()


def gain_scale(basis: Tensor, groups: int, map_k: int, gain: float | None) -> float:
    """Computes the factor on the roots that makes `gain` the mean diagonal of `A'A`; 1 for None or a zero basis."""
    mean = mean_diagonal(basis, groups, map_k).mean().item()
    return math.sqrt(gain / mean) if gain is not None and mean > 0 else 1.0


def make_roots(basis: Tensor, groups: int, map_k: int, gain: float | None) -> tuple[Tensor, Tensor]:
    """Computes the symmetric roots `A` of a basis, `(G, P, P)`, and their pseudo-inverses; beside a map, `s`, `1 / s`.

    Both are float64 on the CPU; they are zero for a basis without values, or with values that are not finite. The rank
    can be short (18 of 25 in a grouped 5x5 layer of two slices): eigenvalues below `P * eps * max` count as 0.
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


def values_of(kernel_map: Tensor, basis: Tensor, groups: int, gain: float | None) -> tuple[Tensor, Tensor]:
    """Computes the trained parameter whose update is `F(Wb)`, exactly, and its root: `V = (F U) A^+`, or `F / s`.

    The map is `(n, g, m, m)`, float64 on the CPU. The result has the dtype of the basis.
    """
    root, inverse = make_roots(basis, groups, kernel_map.shape[-1], gain)
    if root.ndim == 0:
        return (kernel_map * inverse).to(basis), root.to(basis)
    update = apply_map(basis.detach().cpu().double(), kernel_map).reshape(len(root), -1, root.shape[-1])
    return (update @ inverse).view(basis.shape).to(basis), root.to(basis)


def initial_values(basis: Tensor, groups: int, options: RefConvOptions) -> tuple[Tensor, Tensor]:
    """Computes the trained parameter and the root with which training begins, in the dtype of the basis."""
    slices, map_k, gain = basis.shape[0] * basis.shape[1], options.map_k, options.gain
    if options.init == 'zero' or not has_values(basis):
        return basis.new_zeros(shapes(basis, groups, map_k)[0]), make_roots(basis, groups, map_k, gain)[0].to(basis)
    kernel_map = torch.zeros(slices, groups, map_k, map_k, dtype=torch.float64, device='cpu')
    if options.init == 'dirac':
        nn.init.dirac_(kernel_map, slices // groups)
    else:  # as released; a gain scales it like the rest
        nn.init.kaiming_uniform_(kernel_map, math.sqrt(5)).mul_(gain_scale(basis, groups, map_k, gain))
    return values_of(kernel_map, basis, groups, gain)


def autocasts(device: str) -> bool:
    """Whether autocast is on for a device."""
    if hasattr(torch, 'get_autocast_dtype'):  # torch 2.4 and newer
        return device != 'meta' and torch.is_autocast_enabled(device)
    return torch.is_autocast_cpu_enabled() if device == 'cpu' else torch.is_autocast_enabled()


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has numbers; those on meta and those of FakeTensorMode have none."""
    return type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta
