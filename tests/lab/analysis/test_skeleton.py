"""Skeletons that were built into kernels are found."""

import pytest
import torch

from lab.analysis import skeleton as S
from lab.analysis.kernels import KernelSet


def sets(**kernels: torch.Tensor) -> list[KernelSet]:
    return [KernelSet(name, f'{name}.pth', 'plain', dict(layer=kernel)) for name, kernel in kernels.items()]


def signs(*shape: int) -> torch.Tensor:
    return torch.randint(0, 2, shape).double() * 2 - 1


@pytest.mark.parametrize('side', [3, 5])
def test_a_built_in_skeleton_is_found(side):
    kernel = signs(8, 2, side, side)
    kernel[:, :, S.regions(side, side)['cross']] *= 3
    relative = S.magnitude_map(kernel)
    cross = 2 * side - 1
    mean = (3 * cross + side**2 - cross) / side**2
    found = S.shares(relative)
    assert relative.mean().item() == pytest.approx(1)
    assert found['cross'] == pytest.approx(dict(share=3 * cross / (mean * side**2), relative=3 / mean))
    assert found['centre'] == pytest.approx(dict(share=3 / (mean * side**2), relative=3 / mean))
    assert found['corners'] == pytest.approx(dict(share=4 / (mean * side**2), relative=1 / mean))


def test_the_net_is_the_mean_of_layers_of_one_size():
    flat, peaked = torch.ones(4, 1, 3, 3), torch.ones(4, 1, 3, 3)
    peaked[:, :, 1, 1] = 10
    layers = dict(a=flat, b=1000 * peaked, c=torch.ones(4, 1, 5, 5), even=torch.ones(4, 1, 2, 2), zero=0 * flat)
    results = S.measure([KernelSet('before', 'before.pth', 'plain', layers)])
    assert results['net']['3x3']['before']['layers'] == 2
    # Each layer counts the same, whatever its scale: centre (1 + 10 / 2) / 2.
    assert results['net']['3x3']['before']['centre']['relative'] == pytest.approx(3)
    assert results['net']['5x5']['before']['corners']['share'] == pytest.approx(4 / 25)
    assert results['skipped'] == dict(even='2x2: no centre', zero='all zero in before')
    with pytest.raises(ValueError, match='no layer has a skeleton: layer: 2x2: no centre'):
        S.measure(sets(before=torch.ones(4, 1, 2, 2)))
