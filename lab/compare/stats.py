"""Means, spreads and paired differences over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Summary:
    """One arm's scores.

    Attributes:
        n: number of seeds.
        mean, sd: over the seeds; the standard deviation is that of a sample (n - 1), NaN for one seed.
    """

    n: int
    mean: float
    sd: float


@dataclass(frozen=True)
class Difference:
    """Arm minus control, seed by seed.

    Attributes:
        n: number of common seeds.
        mean, sd: of the differences.
        half: half the width of the 95 % confidence interval of the mean (Student's t); NaN for one seed.
    """

    n: int
    mean: float
    sd: float
    half: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.mean - self.half, self.mean + self.half


def summary(scores: Mapping[int, float]) -> Summary:
    """Mean and standard deviation of scores by seed."""
    values = list(scores.values())
    return Summary(len(values), _mean(values), _sd(values))


def paired(scores: Mapping[int, float], control: Mapping[int, float], level: float = 0.95) -> Difference | None:
    """The paired difference over the common seeds; None if there are none."""
    values = [scores[seed] - control[seed] for seed in scores if seed in control]
    if not values:
        return None
    n, sd = len(values), _sd(values)
    half = math.nan if n < 2 else float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)
    return Difference(n, _mean(values), sd, half)


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _sd(values: list[float]) -> float:
    if len(values) < 2:
        return math.nan
    # `statistics.stdev` raises on NaN, which is the score of a diverged run.
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan
