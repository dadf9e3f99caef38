"""Skeletons that were built into kernels are found."""

import json

import pytest
import torch

from lab.analysis.common.kernels import KernelSet
from lab.analysis.skeleton import measure as S

from tests.commands.test_tools import tool  # noqa: F401


def sets(**kernels: torch.Tensor) -> list[KernelSet]:
    return [KernelSet(name, f'{name}.pth', 'plain', dict(layer=kernel)) for name, kernel in kernels.items()]


def signs(*shape: int) -> torch.Tensor:
    return torch.randint(0, 2, shape).double() * 2 - 1


@pytest.mark.parametrize('side', [3, 5, 7])
def test_regions_count_the_positions(side):
    masks = S.regions(side, side)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == dict(centre=1, cross=2 * side - 1, corners=4)
    assert not (masks['cross'] & masks['corners']).any()
    strip = S.regions(1, side)
    assert {name: int(mask.sum()) for name, mask in strip.items()} == dict(centre=1, cross=side, corners=2)
    with pytest.raises(ValueError, match='4x3 kernel has no centre'):
        S.regions(4, 3)


@pytest.mark.parametrize('side', [3, 5])
@pytest.mark.parametrize('weighting', S.WEIGHTINGS)
def test_a_built_in_skeleton_is_found(side, weighting):
    kernel = signs(8, 2, side, side)
    kernel[:, :, S.regions(side, side)['cross']] *= 3
    relative = S.magnitude_map(kernel, weighting)
    cross = 2 * side - 1
    mean = (3 * cross + side**2 - cross) / side**2
    found = S.shares(relative)
    assert relative.mean().item() == pytest.approx(1)
    assert found['cross'] == pytest.approx(dict(share=3 * cross / (mean * side**2), relative=3 / mean))
    assert found['centre'] == pytest.approx(dict(share=3 / (mean * side**2), relative=3 / mean))
    assert found['corners'] == pytest.approx(dict(share=4 / (mean * side**2), relative=1 / mean))


def test_random_kernels_have_none():
    for weighting in S.WEIGHTINGS:
        relative = S.magnitude_map(torch.randn(4000, 1, 3, 3), weighting)
        assert relative.sub(1).abs().max().item() < 0.05


def test_scale_drops_out_and_loud_channels_can_be_kept_from_deciding():
    kernel = signs(10, 1, 3, 3)
    kernel[0, 0, 1, 1] *= 4
    loud = kernel.clone()
    loud[0] *= 1000
    for weighting in S.WEIGHTINGS:
        torch.testing.assert_close(S.magnitude_map(7 * kernel, weighting), S.magnitude_map(kernel, weighting))
    torch.testing.assert_close(S.magnitude_map(loud, 'slice'), S.magnitude_map(kernel, 'slice'))
    # One slice of mean 12/9 with a centre of 4: by itself 3; in the layer it decides.
    assert S.magnitude_map(loud, 'layer')[1, 1].item() == pytest.approx(3, rel=0.02)
    assert S.magnitude_map(kernel, 'slice')[1, 1].item() == pytest.approx((9 + 3) / 10)


def test_the_net_is_the_mean_of_layers_of_one_size():
    flat, peaked = torch.ones(4, 1, 3, 3), torch.ones(4, 1, 3, 3)
    peaked[:, :, 1, 1] = 10
    layers = dict(a=flat, b=1000 * peaked, c=torch.ones(4, 1, 5, 5), even=torch.ones(4, 1, 2, 2), zero=0 * flat)
    results = S.measure([KernelSet('before', 'before.pth', 'plain', layers)])
    assert results['net']['3x3']['before']['layers'] == 2
    # Each layer counts the same, whatever its scale: centre (1 + 10 / 2) / 2.
    assert results['net']['3x3']['before']['layer']['centre']['relative'] == pytest.approx(3)
    assert results['net']['5x5']['before']['layer']['corners']['share'] == pytest.approx(4 / 25)
    assert results['skipped'] == dict(even='2x2: no centre', zero='all zero in before')
    with pytest.raises(ValueError, match='no layer has a skeleton: layer: 2x2: no centre'):
        S.measure(sets(before=torch.ones(4, 1, 2, 2)))
    with pytest.raises(ValueError, match='weighting must be one of'):
        S.magnitude_map(flat, 'none')


def test_the_tool(tool, tmp_path):  # noqa: F811
    for name, centre in (('plain', 1.0), ('fused', 5.0)):
        kernel = torch.ones(6, 1, 3, 3)
        kernel[:, :, 1, 1] = centre
        torch.save({'a.weight': kernel, 'b.weight': torch.ones(4, 2, 5, 5)}, tmp_path / f'{name}.pth')
    command = ['analyse', 'skeleton', tmp_path / 'plain.pth', tmp_path / 'fused.pth', '--out-dir', tmp_path / 'out']
    code, said = tool(*command)
    assert code == 0, said
    files = {'skeleton.md', 'skeleton.json', 'skeleton.png', 'skeleton_layers.png'}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == files
    results = json.loads((tmp_path / 'out' / 'skeleton.json').read_text())
    assert results['layers'][0]['values']['fused']['layer']['centre']['share'] == pytest.approx(5 / 13)
    assert '38.5 %' in said
