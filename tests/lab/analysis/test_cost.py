"""Measures of cost against models whose cost is known."""

import copy

import pytest
import torch
from torch import nn

from lab.analysis.common import costs as C
from lab.analysis.common.made import Batch, Trainer, checkpoint_bytes, copied_trainer, optimizer_bytes
from lab.benchmark.gradient_bytes import gradient_bytes


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 4, 1, bias=False))


def data(channels: int = 3, size: int = 8) -> Batch:
    return Batch(torch.randn(2, channels, size, size), [])


def test_bytes_of_a_small_net():
    trainer = Trainer(net(), data())
    assert optimizer_bytes(trainer.optimizer) == 0
    trainer()
    parameters = 3 * 8 * 9 + 8 * 4
    assert optimizer_bytes(trainer.optimizer) == 4 * parameters  # one momentum in float32
    assert gradient_bytes(trainer.model, trainer.backward) == 4 * parameters
    # Weights and momentum, and what the format itself takes.
    assert 8 * parameters < checkpoint_bytes(trainer) < 8 * parameters + 8192


class Allocates(nn.Module):
    """Holds `extra` floats more during its forward pass."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        workspace = torch.ones(self.extra)
        return x * self.weight + workspace[0]


def test_peak_counts_every_allocation():
    peaks = [C.peak_bytes(copied_trainer(Allocates(extra), data())) for extra in (10_000, 1_010_000)]
    assert abs(peaks[1] - peaks[0] - 4_000_000) < 1000


def test_peak_counts_what_lives_on():
    """Weights, gradients and momentum of a layer that allocates little else."""
    small, large = (nn.Sequential(nn.Conv2d(3, width, 1, bias=False)) for width in (1, 1))
    large.register_parameter('ballast', nn.Parameter(torch.ones(500_000)))

    class Uses(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) + sum(p.sum() for p in self.inner.parameters()) * 0

    peaks = [C.peak_bytes(copied_trainer(Uses(model), data())) for model in (small, large)]
    # Weight, gradient, momentum; weight decay makes one copy of the gradient.
    assert 3 * 2_000_000 <= peaks[1] - peaks[0] < 5 * 2_000_000


def test_alternation_turns_the_order_and_pairs_the_rounds():
    calls = []
    times = C.alternate({name: lambda name=name: calls.append(name) for name in 'abc'}, 3, 'a', warm_up=1)
    assert ''.join(calls) == 'abc' + 'abc' + 'bca' + 'cab'
    assert {name: len(part['seconds']) for name, part in times.items()} == dict(a=3, b=3, c=3)
    assert times['a']['ratio'] == (1, 1, 1)
    assert times['c']['ratio'] == C.round_ratio(times['c']['seconds'], times['a']['seconds'])
    calls.clear()
    C.alternate({name: lambda name=name: calls.append(name) for name in 'ab'}, 2, 'a', warm_up=0, settle=2)
    assert ''.join(calls) == 'aaabbb' + 'bbbaaa'
    assert C.round_ratio([2.0, 2.0, 4.0], [1.0, 2.0, 4.0]) == (1.0, 1.0, 1.5)


@pytest.mark.parametrize('options', [dict(rounds=0), dict(rounds=1, reference='x')])
def test_bad_alternations_are_refused(options):
    with pytest.raises(ValueError, match='must be'):
        C.alternate({'plain': lambda: None}, **options)


def test_a_step_trains():
    model = net()
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(model, data())
    trainer.optimizer.param_groups[0]['lr'] = 0.1
    trainer()
    assert not torch.equal(model[0].weight, before['0.weight'])
