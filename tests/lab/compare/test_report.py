"""The report: training losses beside the scores."""

from __future__ import annotations

import math

from lab.compare.report import Line, loss_table, training_loss


def curve(*losses):
    return dict(curve=[dict(step=50 * (i + 1), loss=loss) for i, loss in enumerate(losses)])


def test_the_training_loss_is_the_mean_of_the_last_tenth():
    assert training_loss(curve(*[9.0] * 18, 1.0, 3.0)) == 2.0
    assert math.isnan(training_loss({}))
    assert math.isnan(training_loss(dict(curve=[dict(step=50, accuracy=1.0)])))


def test_losses_are_compared_seed_by_seed():
    def line(arm, against, losses):
        results = {seed: curve(*[9.0] * 9, loss) for seed, loss in losses.items()}
        return Line('task', arm, against, dict.fromkeys(losses, 1.0), results)

    lines = [line('control', None, {0: 1.0, 1: 2.0, 2: 3.0}), line('own', 'control', {0: 0.5, 1: 1.5, 2: 4.0})]
    table = loss_table(lines)
    assert [cell.strip() for cell in table.splitlines()[-1].strip('|').split('|')] == [
        'own', '2', '+0', '-2.151 to +2.151',
    ]  # fmt: skip
