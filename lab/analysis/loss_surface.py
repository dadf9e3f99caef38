"""The task loss around checkpoints: along filter-normalised random directions, and its curvature.

A displacement of the weights is `S u`, and lengths are those of `u`. The unit, the diagonal matrix S, decides the
meaning of 'sharp':

    raw       S = 1, all parameters. A filter scaled up before a batch norm looks flatter by the square of the factor,
              though the net computes the same.
    filter    the norm of the weight's filter, a slice along the first dimension (Li et al. 2018, arXiv 1712.09913).
              One-dimensional parameters (biases, batch norm) have no filter and stay fixed. Unchanged by a filter
              scaled by c whose scale batch norm takes out again.

The Hessian in a unit is that of `u -> L(w + S u)` at `u = 0`. Products with it are curvlinops', as are the trace
estimates (Hutchinson); the eigenvalues are scipy's (ARPACK). The loss is taken for smooth, and it is only piecewise:
ReLU, max pooling, the assigner and the hard negatives of a detector switch.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from curvlinops import HessianLinearOperator, hutchinson_trace
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigsh
from torch import Tensor, nn

from .errors import crossed, mean_and_error, ratio_of_means
from .task_loss import TaskLoss, fixed_seed

UNITS = ('filter', 'raw')
TOLERANCE = 1e-3  # ARPACK stops once the residual of every eigenvalue is below this share of it
RESTARTS = 25  # or after so many restarts


class DisplacedLoss(nn.Module):
    """`L(w + S u)` at the weights that the task's model has now; `u` are the parameters, at first zero.

    Args:
        task: its model is read and never changed.
        unit: one of `UNITS`.
    """

    def __init__(self, task: TaskLoss, unit: str) -> None:
        super().__init__()
        own = {name: p.detach().clone() for name, p in task.model.named_parameters() if p.requires_grad}
        self.starts = {name: p for name, p in own.items() if unit == 'raw' or p.ndim > 1}
        self.scales = {name: _filter_norms(p) if unit == 'filter' else 1.0 for name, p in self.starts.items()}
        self.task_loss = task.loss  # a method, so that this module has no parameters of the model
        self.u = nn.ParameterList([torch.zeros_like(p) for p in self.starts.values()])

    def forward(self, data: Mapping[str, Any]) -> Tensor:
        moves = zip(self.starts.items(), self.u, strict=True)
        return self.task_loss(data['batch'], {name: p + self.scales[name] * u for (name, p), u in moves})


class _Loss(nn.Module):
    """The loss as curvlinops takes one: the prediction is the loss already; batches are averaged."""

    reduction = 'mean'

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction


def _filter_norms(weight: Tensor) -> Tensor:
    """Norms of the slices along the first dimension, `(O, 1, ...)`."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))


# -- along directions --------------------------------------------------------------------------------------


def direction(name: str, shape: Sequence[int], number: int, seed: int) -> Tensor:
    """The draw of a direction for one tensor: standard normal, and each filter scaled to norm 1.

    It follows from the seed, the number and the tensor's name and shape alone, so it is the same for every net.
    """
    digest = hashlib.sha256(f'{seed}/{number}/{name}'.encode()).digest()
    draw = torch.randn(*shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], 'big')))
    return draw / _filter_norms(draw)


@torch.no_grad()
def line(task: TaskLoss, number: int, distances: Sequence[float], seed: int) -> list[float]:
    """The mean loss at distances along a direction: at distance t every filter has moved by t times its own norm."""
    moved = DisplacedLoss(task, 'filter')
    draws = [direction(name, p.shape, number, seed).to(p) for name, p in moved.starts.items()]
    losses = []
    for distance in distances:
        for u, draw in zip(moved.u, draws, strict=True):
            u.copy_(distance * draw)
        losses.append(sum(float(moved(dict(batch=batch))) for batch in task.batches) / len(task.batches))
    return losses


def measure_lines(task: TaskLoss, directions: int, points: int, span: float, seed: int) -> dict[str, Any]:
    """The loss of one checkpoint along several directions.

    Args:
        points: of a line with its centre, odd.
        span: length of a line to each side.

    Returns:
        Ready for JSON: `distances`, `lines` (directions x points), `centre`, and `rise` (directions x positive
        distances): the two ends of a line averaged, minus its middle.

    Raises:
        ValueError: bad arguments, or a loss at the checkpoint that is not finite.
    """
    if directions < 1 or points < 3 or points % 2 == 0 or not 0 < span < math.inf:
        raise ValueError(f'--directions and --span must be positive, --points odd; got {directions}, {span}, {points}')
    half = points // 2
    distances = [span * (i - half) / half for i in range(points)]
    lines = [line(task, number, distances, seed) for number in range(directions)]
    check_finite([lines[0][half]])
    rise = [[(each[half + i] + each[half - i]) / 2 - each[half] for i in range(1, half + 1)] for each in lines]
    return dict(distances=distances, lines=lines, centre=lines[0][half], rise=rise)


def rise_differences(nets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Differences in rise between every two checkpoints, direction by direction: `of`, `minus`, `difference`."""
    return [
        dict(of=b['name'], minus=a['name'], difference=(np.array(b['rise']) - np.array(a['rise'])).tolist())
        for a, b in itertools.combinations(nets, 2)
    ]


# -- curvature ---------------------------------------------------------------------------------------------


def hessian(displaced: DisplacedLoss, batches: Sequence[Any]) -> HessianLinearOperator:
    """The Hessian by `u` of the mean loss over batches."""
    data = [(dict(batch=batch), torch.zeros(1)) for batch in batches]
    options: dict[str, Any] = dict(check_deterministic=False, batch_size_fn=lambda _: 1)
    return HessianLinearOperator(displaced, _Loss(), list(displaced.u), data, **options)


def largest(whole: HessianLinearOperator, parts: Sequence[HessianLinearOperator], count: int, seed: int) -> list[Any]:
    """The largest (most positive) eigenvalues of the Hessian of the mean loss.

    Args:
        whole: that Hessian.
        parts: those of each batch.
        count: fewer come back where ARPACK did not get them within `RESTARTS`.
        seed: of the vector that it starts from.

    Returns:
        For each, largest first: `value`, and over the batches b `mean`, `error`, `values` of `v' H_b v`. By
        perturbation theory that is, to first order, how the eigenvalue goes with the batches drawn.

    Raises:
        ValueError: the Hessian is zero.
    """
    size = int(whole.shape[0])
    with fixed_seed(seed):
        start = torch.randn(size, dtype=whole.dtype).numpy()
    options = dict(k=count, which='LA', v0=start, tol=TOLERANCE, maxiter=RESTARTS)
    try:
        values, vectors = eigsh(whole.to_scipy(start.dtype), ncv=min(size, max(3 * count + 1, 10)), **options)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    except ArpackError as error:
        raise ValueError(f'{error} Is the Hessian of the loss zero?') from error
    found = []
    for i in reversed(range(len(values))):
        vector = torch.as_tensor(vectors[:, i], dtype=whole.dtype, device=whole.device)
        over = mean_and_error([(part @ vector @ vector).item() for part in parts])
        found.append(dict(value=float(values[i]), **over))
    return found


def trace(parts: Sequence[HessianLinearOperator], probes: int, seed: int) -> dict[str, Any]:
    """Hutchinson's estimate, from the same random vectors for every batch and every net of this size.

    Returns:
        As :func:`.errors.crossed`, and `samples`, `(probes, batches)`.
    """
    samples = torch.empty(probes, len(parts), dtype=torch.float64)
    for i, j in itertools.product(range(probes), range(len(parts))):
        with fixed_seed(seed + i):
            samples[i, j] = hutchinson_trace(parts[j], 1).item()
    return dict(**crossed(samples), samples=samples.tolist())


def measure_curvature(task: TaskLoss, eigenvalues: int, probes: int, seed: int) -> dict[str, Any]:
    """Largest eigenvalues and trace of the Hessian of one checkpoint, in both units.

    Returns:
        Ready for JSON: `loss`, and by unit `eigenvalues` and `trace`.

    Raises:
        ValueError: bad arguments, or a loss that is not finite.
    """
    if eigenvalues < 1 or probes < 1:
        raise ValueError(f'--eigenvalues and --probes must be at least 1, got {eigenvalues} and {probes}')
    with torch.no_grad():
        losses = [float(task.loss(batch)) for batch in task.batches]
    check_finite(losses)
    found: dict[str, Any] = dict(loss=mean_and_error(losses))
    for unit in UNITS:
        displaced = DisplacedLoss(task, unit)
        whole, parts = hessian(displaced, task.batches), [hessian(displaced, [batch]) for batch in task.batches]
        found[unit] = dict(eigenvalues=largest(whole, parts, eigenvalues, seed), trace=trace(parts, probes, seed))
    return found


def check_finite(losses: Sequence[float]) -> None:
    """Raises a ValueError unless all losses are finite."""
    if not all(map(math.isfinite, losses)):
        raise ValueError(f'the loss is not finite: {losses}; the weights or a box without area are at fault')


def curvature_ratios(nets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ratios of every checkpoint to every one before it, with errors of the pair: same vectors, same batches.

    Returns:
        For each pair `of`, `over`, and `values`: by quantity :func:`.errors.ratio_of_means`.
    """
    pairs = []
    for a, b in itertools.combinations(nets, 2):
        values: dict[str, Any] = {}
        for unit in UNITS:
            tops = [net[unit]['eigenvalues'] for net in (b, a)]
            known = [[top[0]['values']] for top in tops if top]
            values[f'{unit}: largest eigenvalue'] = ratio_of_means(*known) if len(known) == 2 else None
            values[f'{unit}: trace'] = ratio_of_means(b[unit]['trace']['samples'], a[unit]['trace']['samples'])
        pairs.append(dict(of=b['name'], over=a['name'], values=values))
    return pairs
