"""How well the Gram matrix of the basis predicts the changes of kernels in training; docs/theory.md derives it.

A refocused kernel takes the plain gradient times `U'U`, a `K*K x K*K` matrix for each group (docs/theory.md). If the
gradient had the same energy in all directions, one step would have energy `lambda**2` along the eigenvector of
eigenvalue `lambda`, and the positions would grow by the matrix' rows. Real gradients have a shape of their own, so the
same is measured for a control that trained plainly: its `U'U`, from the kernel before, should predict less.

Weight decay shrinks a plain kernel as a whole, and a kernel itself lies along the matrix' large eigenvalues; where the
gradient moves little, that shrinking is most of the update and looks like the prediction. So everything is measured
a second time on the *rest*, the update without the multiple of the kernel that fits it best, one number a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from refconv_mm.layers.transformation import gram_matrices

from .errors import mean_and_error
from .kernels import KernelSet, first_names
from .layers import Geometry, describe, geometry_of, sample, without_scaling

MEASURES = {
    'direction': 'rank correlation of the update\'s energy along each eigenvector with its eigenvalue',
    'exponent': 'slope of log energy over log eigenvalue; 0 for no preference; refocusing adds 2 to its control\'s',
    'position': 'rank correlation of the update\'s root mean square at each position with the diagonal',
    'growth': 'rank correlation of the growth of mean |w| at each position with the diagonal',
}  # fmt: skip
# Eigenvalues below this share of the largest are rounding noise: zeros.
FLOOR = 1e-9
MAX_GROUPS = 4096  # of a layer, a sample; a dense layer has a group for each slice


def angle_between(one: Tensor, other: Tensor) -> float:
    """The median angle between the slices of two kernels, in degrees; behind batch norm nothing else of them acts."""
    a, b = (torch.nn.functional.normalize(kernel.detach().double().flatten(0, 1).flatten(1)) for kernel in (one, other))
    # Not from the cosine, which near 1 has no digits left.
    return torch.rad2deg(2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1))).median().item()


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's, along the last dimension; ties share their mean rank, and a constant gives NaN."""
    ranks = []
    for values in (first, second):
        above, below = values.unsqueeze(-1), values.unsqueeze(-2)
        rank = (above > below).double().sum(-1) + 0.5 * (above == below).double().sum(-1)
        ranks.append(rank - rank.mean(-1, keepdim=True))
    return (ranks[0] * ranks[1]).sum(-1) / (ranks[0].norm(dim=-1) * ranks[1].norm(dim=-1))


def sampled(kernels: Sequence[Tensor], geo: Geometry, most: int) -> tuple[list[Tensor], Geometry]:
    """The same groups of each kernel, at most `most` of them: a dense layer has as many groups as slices.

    Returns:
        Kernels of shape `(s*g, 1, KH, KW)`, float64, and their geometry.
    """
    chosen = sample(geo.groups, most)
    parts = [kernel.detach().reshape(geo.groups, geo.width, *kernel.shape[2:])[chosen] for kernel in kernels]
    flat = [part.flatten(0, 1).unsqueeze(1).double() for part in parts]
    return flat, geo._replace(slices=len(chosen) * geo.width, groups=len(chosen))


def gram_spectrum(basis: Tensor, geo: Geometry) -> dict[str, Any]:
    """The spectrum and the diagonal of a layer's Gram matrices.

    Args:
        basis: `(O, I/g, KH, KW)`, not all zero.

    Returns:
        `mean_diagonal`, the speed against plain training at the same learning rate; `diagonal`, `(KH, KW)`, relative
        to its mean; `values`, the eigenvalues' shares, largest first; `condition`, the largest over the smallest (None
        where that is none). Means over groups.
    """
    matrix = gram_matrices(basis, geo.width, geo.map_k)
    matrix = matrix[matrix.diagonal(dim1=1, dim2=2).sum(1) > 0]
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    values = torch.linalg.eigvalsh(matrix).flip(1).clamp(min=0)
    smallest, largest = values[:, -1].mean().item(), values[:, 0].mean().item()
    share = (values / values.sum(1, keepdim=True)).mean(0)
    relative = (diagonal / diagonal.mean(1, keepdim=True)).mean(0).reshape(basis.shape[2:])
    return dict(
        mean_diagonal=diagonal.mean().item(),
        diagonal=relative.tolist(),
        values=share.tolist(),
        condition=largest / smallest if smallest > FLOOR * largest else None,
    )


def predict(before: Tensor, after: Tensor, geo: Geometry) -> dict[str, Any] | None:
    """How well the Gram matrices of `before` predict `after - before`.

    Args:
        before: `(O, I/g, KH, KW)`.
        after: of the same shape.
        geo: theirs.

    Returns:
        `MEASURES` (None where one is not defined), `energy`, the update's shares along the eigenvectors, largest
        eigenvalue first. None if nothing changed.
    """
    shape = (geo.groups, geo.width, geo.positions)
    start, end = before.detach().double(), after.detach().double()
    update = (end - start).reshape(shape)
    matrix = gram_matrices(start, geo.width, geo.map_k)
    live = (update.square().sum((1, 2)) > 0) & (matrix.diagonal(dim1=1, dim2=2).sum(1) > 0)
    if not live.any():
        return None
    update, matrix = update[live], matrix[live]
    values, vectors = torch.linalg.eigh(matrix)
    values, vectors = values.flip(1), vectors.flip(2)
    values = torch.where(values > FLOOR * values[:, :1], values, 0.0)  # ties, where the matrix has no full rank
    energy = (update @ vectors).square().sum(1)
    direction = rank_correlation(energy, values)
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    diagonal = (diagonal / diagonal.mean(1, keepdim=True)).mean(0)
    growth = (end.abs() - start.abs()).reshape(shape).mean((0, 1)) / start.abs().mean()
    rms = update.square().mean((0, 1)).sqrt() / start.abs().mean()
    measures = dict(
        direction=direction[direction.isfinite()].mean(), exponent=slope(values, energy),
        position=rank_correlation(rms, diagonal), growth=rank_correlation(growth, diagonal),
    )  # fmt: skip
    return dict(
        **{name: value.item() if value.isfinite() else None for name, value in measures.items()},
        energy=(energy / energy.sum(1, keepdim=True)).mean(0).tolist(),
    )


def slope(values: Tensor, energy: Tensor) -> Tensor:
    """Least-squares slope of log energy over log eigenvalue, within groups, pooled over them.

    Args:
        values: `(G, KH*KW)`; zeros are left out.
        energy: of the same shape.
    """
    counted = (values > 0) & (energy > 0)
    weight = counted.double()
    number = weight.sum(1, keepdim=True).clamp(min=1)
    logs = [torch.where(counted, numbers, 1.0).log() for numbers in (values, energy)]
    x, y = (weight * (log - (weight * log).sum(1, keepdim=True) / number) for log in logs)
    return (x * y).sum() / (x * x).sum()


def measure(sets: Sequence[KernelSet], map_k: int = 3) -> dict[str, Any]:
    """Spectra of the first checkpoint's kernels, and how well they predict each of the others.

    Args:
        sets: matched (:func:`lab.analysis.kernels.gather`), the first is the start of the others.
        map_k: the side of the map.

    Returns:
        Ready for JSON: `layers` (`gram`, and `after` by checkpoint), `mean` by checkpoint.

    Raises:
        ValueError: all kernels are zero.
    """
    layers = []
    for layer, kernel in sets[0].kernels.items():
        if not kernel.any():
            continue
        geo = geometry_of(kernel, map_k)
        flat, part = sampled([each.kernels[layer] for each in sets], geo, MAX_GROUPS)
        size = 'x'.join(map(str, kernel.shape[2:]))
        row: dict[str, Any] = dict(layer=layer, kernel=describe(kernel), size=size, groups=geo.groups)
        row |= dict(measured=part.groups, map_k=geo.map_k, gram=gram_spectrum(flat[0], part))
        after = {each.name: _both(flat[0], end, part) for each, end in zip(sets[1:], flat[1:], strict=True)}
        layers.append(row | dict(after=after))
    if not layers:
        raise ValueError(f'no layer to measure: {first_names(list(sets[0].kernels))} are all zero')
    names = [each.name for each in sets[1:]]
    return dict(
        checkpoints=[each.record for each in sets], measures=MEASURES, max_groups=MAX_GROUPS, layers=layers,
        mean={name: over_layers([row['after'][name] for row in layers]) for name in names},
        rest={name: over_layers([(row['after'][name] or {}).get('rest') for row in layers]) for name in names},
    )  # fmt: skip


def _both(before: Tensor, after: Tensor, geo: Geometry) -> dict[str, Any] | None:
    """The prediction of an update, and under `rest` that of it without its `scaling` of the whole layer."""
    whole = predict(before, after, geo)
    if whole is None:
        return None
    end, factor, share = without_scaling(before, after)
    # Of an update that is all scaling, rounding errors are left, which say nothing.
    rest = predict(before, end, geo) if share < 1 - FLOOR else None
    kept = None if rest is None else {name: rest[name] for name in MEASURES}
    return dict(whole, angle=angle_between(before, after), scaling=dict(factor=factor, share=share), rest=kept)


def over_layers(found: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Mean and standard error over layers, and in how many a measure is positive; `changed` counts the layers."""
    rows = [row for row in found if row]
    result: dict[str, Any] = dict(changed=len(rows), layers=len(found))
    if rows and 'scaling' in rows[0]:
        result['angle'] = sum(row['angle'] for row in rows) / len(rows)
        result['scaling'] = {key: sum(row['scaling'][key] for row in rows) / len(rows) for key in ('factor', 'share')}
    for measure_name in MEASURES:
        values = [row[measure_name] for row in rows if row[measure_name] is not None]
        stats = mean_and_error(values) if values else dict(mean=None, error=None)
        positive = sum(value > 0 for value in values)
        result[measure_name] = dict(mean=stats['mean'], error=stats['error'], positive=positive, layers=len(values))
    return result
