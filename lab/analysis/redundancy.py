"""How alike the channels of a layer are: KL divergence as in the paper, cosine similarity and effective rank.

The paper (arXiv 2310.10563, the study of channel redundancy) takes the KL divergence between pairs of channels of a
depthwise kernel; larger means less alike. A kernel has to be made a distribution first, and that choice can make the
figure: a softmax over raw weights grows with their scale, which batch norm takes out again, so kernels that only grew
look less redundant. Hence three ways, reported side by side; only the first depends on scale:

    softmax     softmax(w)
    unit        softmax(w / rms(w)), each channel at the same scale, signs kept
    magnitude   |w| / sum |w|

Less redundant is not better by itself: random kernels are the least redundant of all. So each layer is also measured
with Gaussian channels in the place of its own, and a net that was torn apart shows as one that comes near them.

A channel is an output channel: a `KH x KW` slice of a depthwise kernel, a whole `I x KH x KW` filter of a dense one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .kernels import KernelSet
from .layers import channel_rows, describe, sample

PAIRWISE = ('kl_softmax', 'kl_unit', 'kl_magnitude', 'cosine')
WAYS = ('softmax', 'unit', 'magnitude')
MEASURES = {
    'kl_softmax': 'KL divergence of softmax(w), mean over pairs; 0 for copies. Grows with the scale of w',
    'kl_unit': 'KL divergence of softmax(w / rms(w)), mean over pairs; 0 for copies, whatever the scale',
    'kl_magnitude': 'KL divergence of |w| / sum |w|, mean over pairs; 0 for copies, whatever scale and sign',
    'cosine': '|cosine| between channels, mean over pairs; 1 for copies, 0 for orthogonal channels',
    'effective_rank': 'exp(entropy of the normalised singular values) of the unit channels; 1 for copies',
}
LESS_REDUNDANT = dict(kl_softmax=1, kl_unit=1, kl_magnitude=1, cosine=-1, effective_rank=1)
RANDOM = 'random kernels'
MAX_CHANNELS = 1024  # of a layer, a sample
# A channel this much weaker than the layer's strongest carries nothing, and its direction is rounding noise.
DEAD = 1e-6
# Added to magnitudes, relative to the channel's mean: a single zero would make a divergence infinite.
FLOOR = 1e-6


def log_distributions(rows: Tensor, way: str) -> Tensor:
    """Each channel as the logarithm of a distribution over its positions.

    Args:
        rows: `(C, P)`, one channel a row, none of them zero.
        way: one of `WAYS`.

    Returns:
        `(C, P)`; `exp` of it sums to 1 along the rows.
    """
    if way == 'softmax':
        return rows.log_softmax(1)
    if way == 'unit':
        return (rows / rows.square().mean(1, keepdim=True).sqrt()).log_softmax(1)
    sizes = rows.abs()
    sizes = sizes + FLOOR * sizes.mean(1, keepdim=True)
    return (sizes / sizes.sum(1, keepdim=True)).log()


def divergences(rows: Tensor, way: str) -> Tensor:
    """KL divergence of every channel from every other, in nats.

    Returns:
        `(C, C)`; entry `ij` is `sum_p p_i log(p_i / p_j)`.
    """
    logs = log_distributions(rows, way)
    share = logs.exp()
    divergence = (share * logs).sum(1, keepdim=True) - share @ logs.mT
    return divergence.clamp(min=0).fill_diagonal_(0)  # rounding alone takes it below 0


def cosines(rows: Tensor) -> Tensor:
    """|cosine| between channels, `(C, C)`: a channel and its negative are the same up to the next layer's sign."""
    unit = torch.nn.functional.normalize(rows, dim=1)
    return (unit @ unit.mT).abs().clamp(max=1)


def effective_rank(rows: Tensor) -> float:
    """How many directions the channels use: `exp` of the entropy of the normalised singular values.

    (Roy and Vetterli 2007, "The effective rank".) Each channel counts the same: the rows are scaled to norm 1.

    Returns:
        1 for copies, `min(C, P)` where the channels use all directions evenly.
    """
    sigma = torch.linalg.svdvals(torch.nn.functional.normalize(rows, dim=1))
    return math.exp(torch.special.entr(sigma / sigma.sum()).sum().item())


def measure_rows(rows: Tensor) -> dict[str, float]:
    """All of `MEASURES` of one layer's channels.

    Args:
        rows: `(C, P)`, at least two rows, none of them zero.

    Returns:
        By measure; pairs are ordered ones of different channels.
    """
    pairs = len(rows) * (len(rows) - 1)
    values = {}
    for measure in PAIRWISE:  # one matrix at a time: with many channels they take the memory
        matrix = cosines(rows) if measure == 'cosine' else divergences(rows, measure.removeprefix('kl_'))
        values[measure] = ((matrix.sum() - matrix.diagonal().sum()) / pairs).item()
    return values | dict(effective_rank=effective_rank(rows))


def redundancy_of(kernels: Sequence[Tensor], max_channels: int = MAX_CHANNELS) -> dict[str, Any]:
    """One layer in several checkpoints, on the same channels in each.

    Args:
        kernels: `(O, I/g, KH, KW)` each.
        max_channels: as many channels are drawn where there are more.

    Returns:
        `channels`, `measured`, `largest_rank`, `dead` (a number for each checkpoint), `values` (measures for each, or
        None where fewer than two channels live in all of them), `random` (measures of Gaussian channels of the first
        one's scale).
    """
    rows = [channel_rows(kernel) for kernel in kernels]
    norms = torch.stack([row.norm(dim=1) for row in rows])
    alive = norms > DEAD * norms.amax(1, keepdim=True)
    common = alive.all(0).nonzero()[:, 0]
    chosen = common[sample(len(common), max_channels)]
    row: dict[str, Any] = dict(
        channels=len(rows[0]), measured=len(chosen), dead=[int(n) for n in (~alive).sum(1)], values=None
    )
    if len(chosen) < 2:
        return row
    rows = [every[chosen] for every in rows]
    row |= dict(values=[measure_rows(every) for every in rows], random=measure_rows(random_like(rows[0])))
    return row | dict(largest_rank=min(rows[0].shape))


def random_like(rows: Tensor) -> Tensor:
    """Gaussian channels of the same number, length and root mean square, the reference for kernels torn apart."""
    noise = torch.randn(rows.shape, dtype=rows.dtype, generator=torch.Generator().manual_seed(0))
    return noise * rows.square().mean().sqrt()


def measure(sets: Sequence[KernelSet]) -> dict[str, Any]:
    """Redundancy of every layer of every checkpoint.

    Args:
        sets: matched (:func:`lab.analysis.kernels.gather`); the others are compared with the first.

    Returns:
        Ready for JSON: `layers`, `mean` by checkpoint and for `RANDOM`, and `compared`.

    Raises:
        ValueError: no layer has two living channels.
    """
    layers = [
        dict(layer=layer, kernel=describe(kernel), **redundancy_of([each.kernels[layer] for each in sets]))
        for layer, kernel in sets[0].kernels.items()
    ]
    names, measured = [each.name for each in sets], [row for row in layers if row['values']]
    if not measured:
        raise ValueError('no layer has two living channels in all checkpoints, so there is nothing to compare')
    mean = {name: _mean([row['values'][i] for row in measured]) for i, name in enumerate(names)}
    mean[RANDOM] = _mean([row['random'] for row in measured])
    return dict(
        checkpoints=[each.record for each in sets], measures=MEASURES, max_channels=MAX_CHANNELS, layers=layers,
        mean=mean, compared=compared(measured, names),
    )  # fmt: skip


def _mean(values: Sequence[dict[str, float]]) -> dict[str, float]:
    return {measure: sum(each[measure] for each in values) / len(values) for measure in MEASURES}


def compared(layers: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """By checkpoint: the number of `layers`, and in how many it is `less` redundant than the first, by measure."""
    values = [row['values'] for row in layers]
    return {
        name: dict(
            layers=len(values),
            less={m: sum(LESS_REDUNDANT[m] * (row[i][m] - row[0][m]) > 0 for row in values) for m in MEASURES},
        )
        for i, name in enumerate(names[1:], start=1)
    }
