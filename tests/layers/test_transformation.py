"""The mathematics, compared with a naive implementation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from refconv_mm import RefConvOptions
from refconv_mm.layers import transformation as RF
from tests.layers import naive

# float64 sums of a few hundred products of numbers around 1.
EXACT = dict(rtol=0, atol=1e-12)


@st.composite
def kernels(draw):
    """A kernel, its groups and a map that fits; all kinds of layers, small."""
    groups = draw(st.sampled_from([1, 1, 2, 3, 4, 6]))
    in_channels, out_channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    size = draw(st.tuples(st.sampled_from([1, 2, 3, 4, 5]), st.sampled_from([2, 3, 5])))
    map_k = draw(st.sampled_from([m for m in (1, 3, 5) if m <= max(size)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    basis = torch.randn(out_channels, in_channels // groups, *size, dtype=torch.float64, generator=generator)
    return basis, groups, map_k


def random_map(basis, groups, map_k):
    return torch.randn(basis.shape[0] * basis.shape[1], groups, map_k, map_k, dtype=torch.float64)


def im2col(basis, groups, map_k):
    """`U` of each group, `(G, g*m*m, P)`."""
    return F.unfold(basis.reshape(-1, groups, *basis.shape[2:]), map_k, padding=map_k // 2)


@settings(max_examples=60, deadline=None)
@given(kernels())
def test_apply_map_is_the_naive_transformation_and_a_product_with_the_im2col(case):
    basis, groups, _ = case
    kernel_map = random_map(*case)
    update = RF.apply_map(basis, kernel_map)
    expected = torch.from_numpy(naive.refocus(basis.numpy(), kernel_map.numpy(), groups))
    torch.testing.assert_close(basis + update, expected, **EXACT)
    unfolded = im2col(*case)
    product = kernel_map.reshape(len(unfolded), groups, -1) @ unfolded
    torch.testing.assert_close(product.view_as(update), update, **EXACT)


@settings(max_examples=60, deadline=None)
@given(kernels(), st.sampled_from([None, 0.01, 1.0, 100.0]))
def test_roots_are_symmetric_roots_of_the_gram_matrix_with_its_gain(case, gain):
    basis, groups, map_k = case
    roots, inverse = RF.make_roots(basis, groups, map_k, gain)
    unfolded = im2col(*case)
    gram = unfolded.mT @ unfolded
    mean = gram.diagonal(dim1=1, dim2=2).mean().item()
    assert RF.gain_scale(basis, groups, map_k, 1.0) == pytest.approx(mean**-0.5, rel=1e-12)
    factor = 1.0 if gain is None else gain / mean
    if roots.ndim == 0:
        assert groups * map_k**2 <= basis[0, 0].numel()
        assert roots.item() ** 2 == pytest.approx(factor, rel=1e-12)
        assert (roots * inverse).item() == pytest.approx(1.0, rel=1e-12)
        return
    scale = (gram * factor).abs().max()
    torch.testing.assert_close(roots, roots.mT, rtol=0, atol=1e-14 * scale.sqrt().item())
    torch.testing.assert_close(roots.mT @ roots / scale, gram * factor / scale, rtol=0, atol=1e-13)
    torch.testing.assert_close(roots @ inverse @ roots / scale.sqrt(), roots / scale.sqrt(), rtol=0, atol=1e-12)
    assert torch.linalg.eigvalsh(roots).min() > -1e-10 * scale.sqrt()


@settings(max_examples=60, deadline=None)
@given(kernels(), st.sampled_from([None, 1.0]))
def test_values_of_a_map_give_the_update_of_a_map_exactly(case, gain):
    basis, groups, map_k = case
    kernel_map = random_map(*case)
    trained, root = RF.values_of(kernel_map, basis, groups, gain)
    shapes = RF.shapes(basis, groups, map_k)
    assert (tuple(trained.shape), tuple(root.shape)) == shapes
    expected = RF.apply_map(basis, kernel_map)
    for identity in (True, False):
        got = RF.refocused_kernel(basis, trained, root, identity) - identity * basis
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * max(1.0, expected.abs().max().item()))


def test_a_short_rank_is_no_trouble():
    """Kernels with one weight in the corner move in 4 of 9 directions: those that a 3x3 map reaches."""
    basis = torch.zeros(6, 1, 3, 3, dtype=torch.float64)
    basis[:, 0, 0, 0] = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel_map = random_map(basis, 6, 3)
    trained, root = RF.values_of(kernel_map, basis, 6, None)
    assert torch.linalg.matrix_rank(root).tolist() == [4]
    got = RF.refocused_kernel(basis, trained, root, identity=False)
    torch.testing.assert_close(got, RF.apply_map(basis, kernel_map), rtol=0, atol=1e-12)


def test_a_zero_basis_and_no_gain_leave_the_roots_alone():
    assert RF.gain_scale(torch.zeros(4, 1, 3, 3), 4, 3, 1.0) == 1.0
    assert RF.gain_scale(torch.ones(4, 1, 3, 3), 4, 3, None) == 1.0
    root, inverse = RF.make_roots(torch.zeros(4, 1, 3, 3), 4, 3, 1.0)
    assert not root.any()
    assert not inverse.any()


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_basis_that_is_not_finite_has_roots_of_zero(value):
    basis = torch.full((4, 1, 3, 3), value)
    assert not RF.make_roots(basis, 4, 3, 1.0)[0].any()


@settings(max_examples=30, deadline=None)
@given(kernels(), st.sampled_from([None, 2.0]))
def test_the_dirac_initialization_returns_the_kernel(case, gain):
    basis, groups, map_k = case
    trained, root = RF.initial_values(basis, groups, RefConvOptions(map_k, gain, init='dirac', identity=False))
    got = RF.refocused_kernel(basis, trained, root, identity=False)
    torch.testing.assert_close(got, basis, rtol=0, atol=1e-12 * max(1.0, basis.abs().max().item()))


def test_the_kaiming_initialization_draws_the_map_of_nn_conv2d():
    """Beside a map, without a gain, the trained numbers are the map itself: uniform within `1 / sqrt(g * m * m)`."""
    drawn, _ = RF.initial_values(torch.randn(64, 64, 3, 3), 1, RefConvOptions(gain=None, init='kaiming'))
    assert drawn.abs().max() <= 1 / 3
    # 36,864 draws estimate the standard deviation to about 0.4 %.
    assert drawn.std().item() == pytest.approx(1 / 3 / math.sqrt(3), rel=0.02)
