"""The mathematics, compared with a naive implementation and with the released layer."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from refconv_mm import functional as RF

from . import naive

# float64 sums of a few hundred products of numbers around 1.
EXACT = dict(rtol=0, atol=1e-11)


@st.composite
def cases(draw):
    """Channels, groups, kernel sides and a map that fits; all kinds of layers, small."""
    groups = draw(st.sampled_from([1, 1, 2, 3, 4, 6]))
    in_channels = groups * draw(st.integers(1, 2))
    out_channels = groups * draw(st.integers(1, 2))
    kernel = draw(st.tuples(st.sampled_from([1, 2, 3, 4, 5]), st.sampled_from([2, 3, 5])))
    map_k = draw(st.sampled_from([m for m in (1, 3, 5) if m <= max(kernel)]))
    seed = draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(out_channels, in_channels // groups, *kernel, dtype=torch.float64, generator=generator)
    geo = RF.geometry(basis.shape, groups, map_k)
    kernel_map = torch.randn(geo.map_shape, dtype=torch.float64, generator=generator)
    return basis, kernel_map, geo


def im2col(basis: torch.Tensor, geo: RF.Geometry) -> torch.Tensor:
    """`U` of each group, `(G, g*m*m, KH*KW)`."""
    images = basis.reshape(geo.groups, geo.width, *basis.shape[2:])
    return F.unfold(images, geo.map_k, padding=geo.map_k // 2)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_explicit_update_is_the_naive_transformation(case):
    basis, kernel_map, geo = case
    expected = torch.from_numpy(naive.refocus(basis.numpy(), kernel_map.numpy(), geo.width))
    update = RF.explicit_update(basis, kernel_map, geo.groups)
    torch.testing.assert_close(basis + update.view_as(basis), expected, **EXACT)
    product = kernel_map.reshape(geo.groups, geo.width, geo.fan_in) @ im2col(basis, geo)
    torch.testing.assert_close(product.view_as(update), update, **EXACT)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_gram_matrices_are_products_of_the_im2col(case):
    basis, _, geo = case
    unfolded = im2col(basis, geo)
    expected = unfolded.mT @ unfolded
    torch.testing.assert_close(RF.gram_matrices(basis, geo), expected, **EXACT)
    diagonals = expected.diagonal(dim1=1, dim2=2)
    assert RF.mean_diagonal(basis, geo) == pytest.approx(diagonals.mean().item(), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(cases(), st.floats(0.01, 100))
def test_the_gradient_is_multiplied_by_the_gram_matrix(case, gain):
    basis, _, geo = case
    gradient = torch.randn_like(basis)
    gram = RF.gram_matrices(basis, geo)
    factor = RF.gain_factor(basis, geo, gain)
    assert (factor * gram).diagonal(dim1=1, dim2=2).mean().item() == pytest.approx(gain, rel=1e-10)
    rows = gradient.reshape(geo.groups, -1, geo.positions)
    expected = (rows @ (factor * gram)).view_as(basis)
    metrics = [(factor * gram, None)]
    if geo.width == 1:
        metrics.append((torch.tensor(factor, dtype=torch.float64), basis))
    for metric, kernel in metrics:
        parameter = torch.randn_like(basis).requires_grad_()
        composed = basis + parameter
        RF.precondition(composed, metric, kernel, geo.map_k)
        (composed * gradient).sum().backward()
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-11, atol=1e-11)


def test_a_zero_basis_and_no_gain_leave_the_matrices_alone():
    geo = RF.geometry((4, 1, 3, 3), 4, 3)
    assert RF.gain_factor(torch.zeros(4, 1, 3, 3), geo, 1.0) == 1.0
    assert RF.gain_factor(torch.ones(4, 1, 3, 3), geo, None) == 1.0


def test_the_gradient_of_a_gradient_is_the_same_matrix():
    """Products with a Hessian differentiate the backward pass once more."""
    basis = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    geo = RF.geometry(basis.shape, 4, 3)
    metric = RF.gram_matrices(basis, geo)
    parameter = torch.randn_like(basis).requires_grad_()
    for kernel, factor in ((None, metric), (basis, torch.tensor(2.0, dtype=torch.float64))):
        composed = basis + parameter
        RF.precondition(composed, factor, kernel, 3)
        (first,) = torch.autograd.grad(composed.pow(3).sum(), parameter, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), parameter)
        assert torch.isfinite(second).all()
        assert second.any()


@pytest.mark.parametrize('init', RF.STARTS)
@pytest.mark.parametrize(('shape', 'groups'), [((12, 1, 3, 3), 12), ((8, 2, 3, 5), 4), ((6, 2, 3, 3), 1)])
def test_the_starting_update_is_that_of_the_starting_map(init, shape, groups):
    basis = torch.randn(shape, dtype=torch.float64)
    geo = RF.geometry(shape, groups, 3)
    explicit = RF.starting_map(geo, RF.STARTS[init], 0.5, seed=5).double()
    expected = RF.explicit_update(basis, explicit, geo.groups).view_as(basis)
    got = RF.starting_update(basis, geo, RF.STARTS[init], 0.5, seed=5)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)  # random maps are drawn in float32
    if init == 'dirac':
        assert torch.equal(got, basis)


def test_kaiming_rows_are_the_start_of_nn_conv2d():
    geo = RF.geometry((64, 1, 3, 3), 64, 3)
    rows = RF.kaiming_rows(geo, 0, 64, torch.Generator().manual_seed(0))
    released = torch.nn.Conv2d(64, 64, 3, bias=False).weight
    bound = 1 / math.sqrt(64 * 9)
    assert rows.abs().max() <= bound
    assert released.abs().max() <= bound
    # Uniform: standard deviation bound / sqrt(3); 36,864 draws estimate it to about 0.4 %.
    assert rows.std().item() == pytest.approx(released.std().item(), rel=0.02)


def test_a_large_start_is_made_in_pieces():
    basis = torch.randn(4200, 1, 3, 3)
    geo = RF.geometry(basis.shape, 4200, 3)
    pieces = []

    def rows(geo, first, last, generator):
        pieces.append((first, last))
        return RF.kaiming_rows(geo, first, last, generator)

    # Not the seed of the basis: the two would share their random numbers.
    update = RF.starting_update(basis, geo, RF.Start(rows, random=True), 1.0, seed=12345)
    assert update.shape == basis.shape
    assert len(pieces) > 1
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    assert max(last - first for first, last in pieces) * geo.fan_in <= 2**24
    # A position's variance is the Gram matrix' diagonal times that of the map, 1 / (3 fan_in).
    expected = math.sqrt(RF.mean_diagonal(basis, geo) / (3 * geo.fan_in))
    assert update.square().mean().sqrt().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(('map_k', 'error'), [(2, ValueError), (0, ValueError), (-3, ValueError), (5, ValueError),
                                              (3.0, TypeError), (True, TypeError)])  # fmt: skip
def test_a_bad_map_is_refused(map_k, error):
    with pytest.raises(error, match='map_k'):
        RF.geometry((8, 1, 3, 3), 8, map_k)


def test_a_map_may_be_higher_than_a_flat_kernel():
    basis = torch.randn(4, 1, 2, 7, dtype=torch.float64)
    geo = RF.geometry(basis.shape, 4, 7)
    unfolded = im2col(basis, geo)
    torch.testing.assert_close(RF.gram_matrices(basis, geo), unfolded.mT @ unfolded, **EXACT)
