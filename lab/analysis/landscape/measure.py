"""Loss landscapes along filter-normalised random directions, after Li et al. 2018 (arXiv 1712.09913, section 4).

A direction is a Gaussian draw for every tensor of two or more dimensions, scaled filter by filter to the norm of the
model's own filter; biases and batch norm parameters (all one-dimensional tensors) do not move. This is `--xnorm filter
--xignore biasbn` of the authors' code (tomgoldstein/loss-landscape, net_plotter.py), which evaluates with batch norm's
running statistics as stored. A filter is a slice along the first dimension, there and here. So at distance t, every
filter has moved by t times its own norm.

The draw follows from the seed, the number of the direction and the tensor's name and shape, from nothing else: every
model compared is moved along the same draws, each scaled to its own filters.

What the normalisation makes invariant: a filter scaled by c whose scale something else takes out again that does not
move (batch norm: with batch statistics always, with running ones if they are scaled too) or that moves in proportion
(the one input channel of a depthwise filter; all of a next layer's input channels at once). Scaling *one* input channel
of a dense layer by 1/c is not covered: it changes the proportions inside each of that layer's filters.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..common.parts import PartStore
from ..common.task_loss import TaskLoss
from ..common.units import scale_of
from ..common.weights import kept
from . import LandscapeOptions, Point

RULE = 'filter-normalised, biases and batch norm parameters fixed, v1'  # part of the key of stored points
RISES = (0.1, 0.5, 1.0)  # of the first checkpoint's loss; the amounts are then the same for all


def gaussian(name: str, shape: Sequence[int], direction: int, seed: int) -> Tensor:
    """The draw of a direction for one tensor, standard normal, float32 on the CPU: the same for every model."""
    digest = hashlib.sha256(f'{seed}/{direction}/{name}'.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], 'big'))
    return torch.randn(*shape, generator=generator)


def filter_normalised(draw: Tensor, weight: Tensor) -> Tensor:
    """A draw, each slice along the first dimension scaled to the norm of the weight's; zero for vectors and scalars.

    Args:
        draw, weight: of one shape, `(O, ...)`.
    """
    if weight.ndim < 2:
        return torch.zeros_like(weight)
    draw = draw.to(weight)
    return draw * (scale_of(weight, 'filter') / scale_of(draw, 'filter'))


@contextmanager
def movable(model: nn.Module, seed: int) -> Iterator[Callable[[Point], None]]:
    """Hands out a function that moves a model to a point; afterwards every weight is what it was, bit for bit.

    Beside the model there is one copy of its weights, and one tensor's direction at a time, drawn again for each point.
    """
    weights = {name: p.detach() for name, p in model.named_parameters() if p.ndim > 1 and p.is_floating_point()}
    with kept(list(weights.values())) as saved:

        def move(to: Point) -> None:
            for (name, weight), start in zip(weights.items(), saved, strict=True):
                weight.copy_(start)
                for direction, distance in to:
                    draw = gaussian(name, weight.shape, direction, seed)
                    weight.add_(filter_normalised(draw, start), alpha=distance)

        yield move


def key(options: LandscapeOptions) -> list[Any]:
    """What a stored loss depends on beside task and weights; how far and how fine the points lie is not in it."""
    return [RULE, options.seed]


def plan_work(task: TaskLoss, options: LandscapeOptions, stores: Sequence[PartStore]) -> list[tuple[float, str]]:
    """Points left of each checkpoint."""
    parts = [json.dumps(at) for at in options.all()]
    left = [sum(part not in store.known for part in parts) for store in stores]
    return [(count, f'{count} of {len(parts)} points to evaluate') for count in left]


def measure(
    task: TaskLoss, options: LandscapeOptions, store: PartStore, advance: Callable[[float], object] = lambda done: None
) -> dict[str, Any]:
    """The losses of one checkpoint: `lines` (directions x points), `map` (rows x columns) and `centre`."""
    losses = sweep(task, options.all(), options.seed, store, advance)
    return dict(
        lines=[[losses[at] for at in options.line(k)] for k in range(options.directions)],
        map=[[losses[at] for at in row] for row in options.map()],
        centre=losses[()],
    )


def sweep(
    task: TaskLoss, points: Sequence[Point], seed: int, store: PartStore,
    advance: Callable[[float], object] = lambda done: None,
) -> dict[Point, float]:  # fmt: skip
    """The mean loss at every point, from the store where it is known.

    Args:
        task: with the weights loaded; they are moved, and put back also after an error or an interruption.
        advance: called after each point that had to be evaluated.

    Returns:
        By point; NaN where the loss is not finite.

    Raises:
        ValueError: the loss at the centre is not finite.
    """
    parts = {at: json.dumps(at) for at in points}
    with movable(task.model, seed) as move:
        for at, part in parts.items():
            if part in store.known:
                continue
            move(at)
            loss = task.mean()
            if not at and not math.isfinite(loss):
                raise ValueError(
                    f'the loss at the checkpoint itself is {loss}: its weights are at fault, or an annotation '
                    '(a box without area? filter_cfg=dict(bbox_min_size=1) leaves those out of training)'
                )
            store.add(part, loss if math.isfinite(loss) else None)
            advance(1)
    found = {at: store.known[part] for at, part in parts.items()}
    return {at: math.nan if loss is None else loss for at, loss in found.items()}


def sum_up(nets: Sequence[dict[str, Any]], options: LandscapeOptions, task: TaskLoss) -> dict[str, Any]:
    """How sharp each net's surroundings are.

    Args:
        nets: each with `name`, `path`, `what`, and what :func:`measure` returned.

    Returns:
        `checkpoints`, each with `increase` (directions x distances) and `reach` (amounts x directions) beside what it
        came with, and `share` of the map by amount; `pairs`, the differences in increase between two, direction by
        direction.
    """
    distances = options.distances(options.points)
    first = nets[0]['centre']
    amounts = [share * (first if first > 0 else 1.0) for share in RISES]
    for net in nets:
        net['increase'] = [increases(line) for line in net['lines']]
        net['reach'] = [[reach(distances, line, amount) for line in net['lines']] for amount in amounts]
        flat = [loss - net['centre'] for row in net['map'] for loss in row]
        net['share'] = [sum(rise <= amount for rise in flat) / len(flat) for amount in amounts] if flat else []
    pairs = [
        dict(less=a['name'], more=b['name'], difference=(np.array(b['increase']) - np.array(a['increase'])).tolist())
        for a, b in itertools.combinations(nets, 2)
    ]
    return dict(
        directions=options.directions, seed=options.seed, span=options.span, distances=distances,
        map_steps=options.distances(options.grid) if options.grid else [], amounts=amounts, bn=task.mode,
        data=task.what, checkpoints=list(nets), pairs=pairs,
    )  # fmt: skip


def increases(line: Sequence[float]) -> list[float]:
    """How much higher the loss is at each distance than in the middle, both sides averaged.

    Args:
        line: losses at the distances of :meth:`LandscapeOptions.distances`.

    Returns:
        One number for each positive distance, ascending; NaN where a side is not finite.
    """
    half = len(line) // 2
    return [(line[half + i] + line[half - i]) / 2 - line[half] for i in range(1, half + 1)]


def reach(distances: Sequence[float], line: Sequence[float], amount: float) -> tuple[float, bool]:
    """The distance at which a line has first risen by an amount over its middle, both sides averaged.

    Between points the loss is taken for straight; one that is not finite counts as risen right after the point before.

    Returns:
        The distance, and whether both sides got there. A side that does not counts with the whole span, so the
        distance is then a lower bound.
    """
    half = len(line) // 2
    found, complete = [], True
    for side in (1, -1):
        ahead = [line[half + side * i] - line[half] for i in range(half + 1)]
        at = next((i for i, rise in enumerate(ahead) if not rise < amount), None)
        if at is None:
            complete = False
            found.append(distances[-1])
        else:
            step = (amount - ahead[at - 1]) / (ahead[at] - ahead[at - 1]) if math.isfinite(ahead[at]) else 0.0
            found.append(distances[half + at - 1] + step * (distances[half + at] - distances[half + at - 1]))
    return sum(found) / 2, complete
