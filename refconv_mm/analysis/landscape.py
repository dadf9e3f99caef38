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
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .task_loss import TaskLoss
from .weights import Weights, content_hash, kept

RULE = 'filter-normalised, biases and batch norm parameters fixed, v1'  # part of the key of stored points
Point = tuple[tuple[int, float], ...]  # (direction, distance), ...; () is the centre


@dataclass(frozen=True)
class Plan:
    """Where the loss is evaluated.

    Attributes:
        directions: lines, each along a direction of its own.
        points: of a line, the centre included; odd.
        span: lines and map go from -span to span, in units of each filter's norm.
        grid: points a side of the map along directions 0 and 1; odd, or 0 for no map.
        seed: of the directions.
    """

    directions: int = 5
    points: int = 11
    span: float = 1.0
    grid: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise ValueError(f'--directions must be at least 1, got {self.directions}')
        if self.points < 3 or self.points % 2 == 0:
            raise ValueError(f'--points must be odd (the centre is one) and at least 3, got {self.points}')
        if self.grid and (self.grid < 3 or self.grid % 2 == 0):
            raise ValueError(f'--grid must be 0 (no map), or odd and at least 3, got {self.grid}')
        if not 0 < self.span < math.inf:
            raise ValueError(f'--span must be positive, got {self.span}')

    def distances(self, count: int) -> list[float]:
        """`count` distances from -span to span; symmetric and 0 in the middle, exactly."""
        half = count // 2
        return [self.span * (i - half) / half for i in range(count)]

    def line(self, direction: int) -> list[Point]:
        return [point((direction, t)) for t in self.distances(self.points)]

    def map(self) -> list[list[Point]]:
        """Rows along direction 1, columns along direction 0."""
        steps = self.distances(self.grid) if self.grid else []
        return [[point((0, x), (1, y)) for x in steps] for y in steps]

    def all(self) -> list[Point]:
        """Every point once, the centre first, then lines, then the map."""
        lines = [p for k in range(self.directions) for p in self.line(k)]
        return list(dict.fromkeys([(), *lines, *(p for row in self.map() for p in row)]))


def point(*moves: tuple[int, float]) -> Point:
    """A point, without the directions along which it does not move."""
    return tuple((direction, distance) for direction, distance in moves if distance)


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
    scale = weight.flatten(1).norm(dim=1) / draw.flatten(1).norm(dim=1)
    return draw * scale.view(-1, *[1] * (weight.ndim - 1))


@contextmanager
def movable(model: nn.Module, seed: int) -> Iterator[Callable[[Point], None]]:
    """Hands out a function that moves a model to a point; afterwards every weight is what it was, bit for bit.

    Beside the model there is one copy of its weights, and one tensor's direction at a time, drawn anew for each point.
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


class PointStore:
    """Losses of points done, a line of JSON each, kept from run to run; only those under its own key are seen.

    Args:
        path: the file; points of other keys stay in it.
        key: a hash of all that a loss depends on, see :func:`key_of`.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.known: dict[Point, float] = {}
        text = path.read_text(encoding='utf-8') if path.is_file() else ''
        self._torn = bool(text) and not text.endswith('\n')
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                if entry['key'] == key:
                    at = tuple((int(k), float(t)) for k, t in entry['at'])
                    self.known[at] = math.nan if entry['loss'] is None else float(entry['loss'])
            except (ValueError, KeyError, TypeError):
                continue  # a line that an interruption cut off

    def add(self, at: Point, loss: float) -> None:
        """Remembers a loss; written and flushed at once."""
        self.known[at] = loss
        entry = dict(key=self.key, at=at, loss=loss if math.isfinite(loss) else None)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open('a', encoding='utf-8') as file:
            file.write('\n' * self._torn + json.dumps(entry) + '\n')
        self._torn = False


def key_of(task: TaskLoss, weights: Weights, seed: int) -> str:
    """A hash of checkpoint, config, batches, batch norm's mode and directions; how far and how fine is not in it."""
    return content_hash([RULE, seed, task.fingerprint, weights.state_dict])


def sweep(
    task: TaskLoss, points: Sequence[Point], seed: int, store: PointStore, advance: Callable[[], object] = lambda: None
) -> dict[Point, float]:
    """The mean loss at every point, from the store where it is known.

    Args:
        task: with the weights loaded; they are moved, and put back also after an error or an interruption.
        advance: called after each point that had to be evaluated.

    Returns:
        By point; NaN where the loss is not finite.

    Raises:
        ValueError: the loss at the centre is not finite.
    """
    missing = [at for at in points if at not in store.known]
    with movable(task.model, seed) as move:
        for at in missing:
            move(at)
            loss = task.mean()
            if not at and not math.isfinite(loss):
                raise ValueError(
                    f'the loss at the checkpoint itself is {loss}: its weights are at fault, or an annotation '
                    '(a box without area? filter_cfg=dict(bbox_min_size=1) leaves those out of training)'
                )
            store.add(at, loss if math.isfinite(loss) else math.nan)
            advance()
    return {at: store.known[at] for at in points}


def increases(line: Sequence[float]) -> list[float]:
    """How much higher the loss is at each distance than in the middle, both sides averaged.

    Args:
        line: losses at the distances of :meth:`Plan.distances`.

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
