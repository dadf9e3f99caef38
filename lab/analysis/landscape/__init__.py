"""The task loss around checkpoints, along the same filter-normalised random directions for all (Li et al. 2018).

landscape CONFIG plain.pth control.pth fused.pth --names before,control,refocused --out-dir DIR
-> landscape.md, landscape.json, landscape.png (lines), landscape_map.png (contours)

Real images of the config, the same for all; a refocused checkpoint is fused in memory. Points done are kept in
DIR/landscape_parts.jsonl: an interrupted run goes on where it stopped, and a finer run takes the points that are there.
"""

import math
from dataclasses import dataclass

from ..common.options import Analysis, option

Point = tuple[tuple[int, float], ...]  # (direction, distance), ...; () is the centre


@dataclass(frozen=True)
class LandscapeOptions:
    """Where the loss is evaluated: on lines along directions of their own, and on a map of directions 0 and 1."""

    directions: int = option(5, 'lines, each along a random direction')
    points: int = option(11, 'points of a line with its centre, odd')
    span: float = option(1.0, 'length of a line to each side, in norms of each filter; 0.1 shows more of a steep net')
    grid: int = option(15, 'points a side of the map, odd; 0: no map')
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


ANALYSIS = Analysis(
    name='landscape',
    title='Loss landscape',
    text=__doc__,
    source='task',
    options=LandscapeOptions,
    captions=dict(
        landscape='The task loss along filter-normalised random directions',
        landscape_map='The task loss on a plane of two filter-normalised random directions',
    ),
)
