"""The report: training losses beside the scores."""

import math

from lab.compare.report import training_loss


def curve(*losses):
    return dict(curve=[dict(step=50 * (i + 1), loss=loss) for i, loss in enumerate(losses)])


def test_the_training_loss_is_the_mean_of_the_last_tenth():
    assert training_loss(curve(*[9.0] * 18, 1.0, 3.0)) == 2.0
    assert math.isnan(training_loss({}))
    assert math.isnan(training_loss(dict(curve=[dict(step=50, accuracy=1.0)])))
