"""Statistics compared with numbers calculated by hand."""

import math

import pytest

from lab.compare.stats import paired, summary


def test_mean_and_standard_deviation():
    found = summary({0: 1.0, 1: 2.0, 2: 6.0})
    assert (found.n, found.mean) == (3, 3.0)
    assert found.sd == pytest.approx(math.sqrt(((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 2))


def test_the_paired_difference_and_its_interval():
    # Differences 1, 2, 3: mean 2, sd 1, t(0.975, 2) = 4.302653, half = 4.302653 / sqrt(3).
    found = paired({0: 11.0, 1: 12.0, 2: 13.0, 9: 99.0}, {2: 10.0, 1: 10.0, 0: 10.0})
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    assert found.half == pytest.approx(2.484138, abs=1e-6)
    assert found.interval == pytest.approx((-0.484138, 4.484138), abs=1e-6)


def test_one_seed_has_no_interval_and_no_common_seed_no_difference():
    assert math.isnan(paired({0: 1.0}, {0: 0.5}).half)
    assert paired({0: 1.0}, {1: 0.5}) is None
    assert math.isnan(summary({0: 1.0, 1: math.nan}).sd)
