"""Sharpness: how much higher the loss gets within a ball around the weights (SAM, and scale-invariant as in ASAM).

    max over |u| <= rho of L(w + S u) - L(w)

`S u` is a displacement in a unit of :mod:`lab.analysis.common.units`. In raw units this is what SAM minimises
(Foret et al. 2021, arXiv 2010.01412), in relative ones the adaptive sharpness of ASAM (Kwon et al. 2021, arXiv
2102.11600, definition 2). The maximum is searched as they do, by one normalised step up the gradient, and then by
further steps projected back onto the ball; what is found is a lower bound of it.

Each batch has its own displacement, as in SAM (its m-sharpness, m being the batch size), so batches are samples of one
quantity and give it a standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .errors import mean_and_error
from .hessian import Tick
from .task_loss import TaskLoss
from .units import Scales
from .weights import kept


@contextmanager
def displaced(units: Scales) -> Iterator[Callable[[Sequence[Tensor]], None]]:
    """Hands out a function that moves parameters by `S u`; afterwards they are what they were, bit for bit."""
    with kept(units.tensors) as saved:

        @torch.no_grad()
        def move(u: Sequence[Tensor]) -> None:
            for p, start, scale, part in zip(units.tensors, saved, units.scales, u, strict=True):
                p.copy_(start + scale * part)

        yield move


def gradient(task: TaskLoss, batch: Any, units: Scales) -> tuple[float, list[Tensor]]:
    """The loss of a batch and its gradient by u: `S` times that by the weights."""
    loss = task.loss(batch)
    slopes = torch.autograd.grad(loss, units.tensors, materialize_grads=True, allow_unused=True)
    return loss.item(), [scale * slope for scale, slope in zip(units.scales, slopes, strict=True)]


def _length(parts: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(part.double().square().sum()) for part in parts))


def climb(
    task: TaskLoss, batch: Any, units: Scales, rho: float, steps: int,
    start: tuple[float, list[Tensor]], move: Callable[[Sequence[Tensor]], None], tick: Tick,
) -> tuple[float, float]:  # fmt: skip
    """How far the loss of one batch rises within the ball.

    Args:
        rho: the ball's radius, in their unit.
        steps: of ascent; each adds `rho` times the unit gradient and projects onto the ball.
        start: of :func:`gradient` at the weights.
        move: of :func:`displaced` on the parameters.
        tick: called once for every evaluation.

    Returns:
        The rise after the first step, which can be negative, and the largest met, at least 0. Where the gradient
        vanishes there is no way up: 0. NaN where the loss is not finite.
    """
    first, (base, slope) = math.nan, start
    best, place = 0.0, [torch.zeros_like(part) for part in slope]
    for step in range(steps):
        size = _length(slope)
        if size == 0:
            return (0.0 if step == 0 else first), best
        place = [at + rho / size * part for at, part in zip(place, slope, strict=True)]
        out = rho / max(_length(place), rho)
        place = [out * at for at in place]
        move(place)
        if step < steps - 1:
            loss, slope = gradient(task, batch, units)
        else:
            with torch.no_grad():
                loss = float(task.loss(batch))
        tick(1)
        if not math.isfinite(loss):
            return (math.nan if step == 0 else first), math.nan
        first = loss - base if step == 0 else first
        best = max(best, loss - base)
    return first, best


def sharpness(
    task: TaskLoss, units: Scales, radii: Sequence[float], steps: int = 5, tick: Tick = lambda done: None
) -> list[dict[str, Any]]:
    """Sharpness at several radii.

    Args:
        units: made at the weights that the task's model has; they are moved and put back.
        radii: in their unit, as SAM and ASAM count rho.
        steps: of ascent; 1 is SAM's own estimate.
        tick: called after every evaluation.

    Returns:
        For each radius: `radius`, and over the batches `step` (after one step) and `ascent` (the largest met), as
        :func:`lab.analysis.common.errors.mean_and_error`, or None where the loss was not finite.
    """
    rises: list[list[tuple[float, float]]] = [[] for _ in radii]
    with displaced(units) as move:
        for batch in task.batches:
            move([torch.zeros_like(scale) for scale in units.scales])
            start = gradient(task, batch, units)
            tick(1)
            for found, radius in zip(rises, radii, strict=True):
                found.append(climb(task, batch, units, radius, steps, start, move, tick))
    rows = []
    for radius, found in zip(radii, rises, strict=True):
        step, ascent = (
            mean_and_error(each) if all(map(math.isfinite, each)) else None for each in zip(*found, strict=True)
        )
        rows.append(dict(radius=radius, step=step, ascent=ascent))
    return rows
