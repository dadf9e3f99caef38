"""The figure shows every run for any score of the baseline."""

import matplotlib.pyplot as plt
import pytest

from lab.compare.figure import _scores
from lab.compare.report import Line
from lab.compare.stats import summary


@pytest.mark.parametrize(('baseline', 'outside'), [(0.3, True), (31.2, False)])
def test_a_baseline_that_is_far_off_does_not_hide_the_runs(baseline, outside):
    def line(arm, scores):
        return Line('streets', arm, None, (), scores, {}, summary(scores))

    figure, axes = plt.subplots()
    _scores(axes, [line('baseline', {0: baseline}), line('control', {0: 32.0, 1: 33.0}), line('arm', {0: 34.0})])
    low, high = axes.get_xlim()
    plt.close(figure)
    assert low < 32.0
    assert high > 34.0
    assert (low > baseline) == outside
    assert axes.get_yticklabels()[0].get_text() == ('baseline (0.3, outside)' if outside else 'baseline')
