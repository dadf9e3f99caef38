"""Means, spreads and paired differences over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """The mean of scores, or of differences, over seeds.

    Attributes:
        n: number of seeds.
        mean, sd: the standard deviation is that of a sample (n - 1), NaN for one seed.
    """

    n: int
    mean: float
    sd: float

    @property
    def half(self) -> float:
        """Half the width of the 95 % confidence interval of the mean (Student's t); NaN for one seed."""
        return math.nan if self.n < 2 else float(stats.t.ppf(0.975, self.n - 1)) * self.sd / math.sqrt(self.n)

    @property
    def interval(self) -> tuple[float, float]:
        return self.mean - self.half, self.mean + self.half


def summary(scores: Mapping[int, float]) -> Estimate:
    """Mean and standard deviation of scores by seed."""
    values = list(scores.values())
    # `statistics.stdev` raises on NaN, which is the score of a diverged run.
    known = len(values) > 1 and all(map(math.isfinite, values))
    mean = statistics.fmean(values) if values else math.nan
    return Estimate(len(values), mean, statistics.stdev(values) if known else math.nan)


def paired(scores: Mapping[int, float], control: Mapping[int, float]) -> Estimate | None:
    """The paired difference, arm minus control, over the common seeds; None if there are none."""
    common = {seed: scores[seed] - control[seed] for seed in scores if seed in control}
    return summary(common) if common else None
