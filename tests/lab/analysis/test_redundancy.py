"""Redundancy of kernels whose redundancy is known."""

import math

import pytest
import torch

from lab.analysis import redundancy as R
from lab.analysis.kernels import KernelSet

EXACT = dict(rel=0, abs=1e-9)


def rows(count: int = 6, length: int = 9, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sets(**kernels: torch.Tensor) -> list[KernelSet]:
    return [KernelSet(name, f'{name}.pth', 'plain', dict(layer=kernel)) for name, kernel in kernels.items()]


def test_copies_are_wholly_redundant():
    values = R.measure_rows(rows(1).expand(5, 9))
    assert [values[f'kl_{way}'] for way in R.WAYS] == pytest.approx([0, 0, 0], **EXACT)
    assert values['cosine'] == pytest.approx(1, **EXACT)
    assert values['effective_rank'] == pytest.approx(1, rel=0, abs=1e-6)


def test_orthogonal_channels_are_not_redundant_at_all():
    values = R.measure_rows(torch.eye(4, 9, dtype=torch.float64) * torch.tensor([1.0, 2, 3, 4])[:, None])
    assert values['cosine'] == pytest.approx(0, **EXACT)
    assert values['effective_rank'] == pytest.approx(4, **EXACT)
    # Each puts all its magnitude where the others have none but the floor.
    assert values['kl_magnitude'] == pytest.approx(math.log(9 / R.FLOOR), rel=0.01)


def test_the_divergence_is_the_sum_over_positions():
    two = torch.tensor([[1.0, 3.0], [-2.0, 2.0]], dtype=torch.float64)
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert R.divergences(two, 'magnitude')[0, 1].item() == pytest.approx(expected, rel=1e-5)
    p, q = two.softmax(1)
    assert R.divergences(two, 'softmax')[0, 1].item() == pytest.approx((p * (p / q).log()).sum().item(), **EXACT)
    p, q = (two / two.square().mean(1, keepdim=True).sqrt()).softmax(1)
    assert R.divergences(two, 'unit')[1, 0].item() == pytest.approx((q * (q / p).log()).sum().item(), **EXACT)


def test_a_net_that_only_grew_looks_less_redundant_to_the_softmax_alone():
    kernel = rows(16).reshape(16, 1, 3, 3)
    results = R.measure(sets(before=kernel, grown=3 * kernel, flipped=-kernel))
    mean = results['mean']
    assert mean['grown']['kl_softmax'] > 2 * mean['before']['kl_softmax']
    for measure in ('kl_unit', 'kl_magnitude', 'cosine', 'effective_rank'):
        assert mean['grown'][measure] == pytest.approx(mean['before'][measure], rel=1e-9)
    for measure in ('kl_magnitude', 'cosine', 'effective_rank'):
        assert mean['flipped'][measure] == pytest.approx(mean['before'][measure], rel=1e-9)
