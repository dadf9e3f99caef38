"""The mathematics, against a naive implementation and against itself in the other form."""

import math

import numpy as np
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
    kernel_map = torch.randn(geo.map_shape('explicit'), dtype=torch.float64, generator=generator)
    return basis, kernel_map, geo


@settings(max_examples=60, deadline=None)
@given(cases())
def test_both_forms_are_the_naive_transformation(case):
    basis, kernel_map, geo = case
    expected = torch.from_numpy(naive.refocus(basis.numpy(), kernel_map.numpy(), geo.width))
    explicit = basis + RF.explicit_update(basis, kernel_map, geo)
    r, q = RF.compact_factor(basis, geo)
    compact = RF.compact_kernel(basis, RF.compact_from_explicit(kernel_map, q, geo), r, geo)
    torch.testing.assert_close(explicit, expected, **EXACT)
    torch.testing.assert_close(compact, expected, **EXACT)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_compact_to_explicit_and_back_keeps_the_kernel(case):
    basis, kernel_map, geo = case
    r, q = RF.compact_factor(basis, geo)
    compact = RF.compact_from_explicit(kernel_map, q, geo)
    explicit = RF.explicit_from_compact(compact, q, geo)
    kernel = RF.compact_kernel(basis, compact, r, geo)
    torch.testing.assert_close(basis + RF.explicit_update(basis, explicit, geo), kernel, **EXACT)
    torch.testing.assert_close(RF.compact_from_explicit(explicit, q, geo), compact, **EXACT)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_the_factor_is_the_root_of_the_gram_matrix_and_unique(case):
    basis, _, geo = case
    r, q = RF.compact_factor(basis, geo)
    unfolded = RF.unfold_basis(basis, geo)
    gram = unfolded.mT @ unfolded
    torch.testing.assert_close(r.mT @ r, gram, rtol=1e-11, atol=1e-11)
    if q is not None:
        torch.testing.assert_close(q @ r, unfolded, **EXACT)
        torch.testing.assert_close(r, r.mT, **EXACT)
        assert (torch.linalg.eigvalsh(r) > -1e-11).all()  # the one symmetric root without negative eigenvalues


@settings(max_examples=40, deadline=None)
@given(cases(), st.floats(0.01, 100))
def test_gain_sets_the_mean_diagonal_over_the_layer(case, gain):
    basis, _, geo = case
    unfolded = RF.gain_scale(basis, geo, gain) * RF.unfold_basis(basis, geo)
    diagonal = (unfolded.mT @ unfolded).diagonal(dim1=-2, dim2=-1)
    assert diagonal.mean().item() == pytest.approx(gain, rel=1e-10)


def test_gain_of_a_zero_basis_is_harmless():
    geo = RF.geometry((4, 1, 3, 3), 4, 3)
    assert RF.gain_scale(torch.zeros(4, 1, 3, 3), geo, 1.0) == 1.0


@pytest.mark.parametrize('options', [
    dict(momentum=0.9, weight_decay=1e-2),
    dict(momentum=0.9, nesterov=True, weight_decay=1e-3),
    dict(momentum=0.8, dampening=0.3),
])  # fmt: skip
@pytest.mark.parametrize(('shape', 'groups', 'map_k'), [((24, 1, 3, 3), 24, 3), ((16, 2, 5, 5), 8, 5)])
def test_sgd_on_the_compact_form_is_sgd_on_the_explicit_one(options, shape, groups, map_k):
    """300 steps on a loss that bends; the kernels agree to rounding (DESIGN 2 measured 9e-16)."""
    basis = torch.randn(shape, dtype=torch.float64) * 0.3
    target = torch.randn(shape, dtype=torch.float64)
    geo = RF.geometry(shape, groups, map_k)
    r, q = RF.compact_factor(basis, geo)
    start = torch.randn(geo.map_shape('explicit'), dtype=torch.float64) * 0.01
    explicit = start.clone().requires_grad_()
    compact = RF.compact_from_explicit(start, q, geo).requires_grad_()
    forms = {
        'explicit': (explicit, lambda: basis + RF.explicit_update(basis, explicit, geo)),
        'compact': (compact, lambda: RF.compact_kernel(basis, compact, r, geo)),
    }
    for parameter, kernel in forms.values():
        optimizer = torch.optim.SGD([parameter], lr=5e-4, **options)
        for _ in range(300):
            optimizer.zero_grad()
            (kernel() - target).pow(2).sum().add(1).log().backward()
            torch.nn.utils.clip_grad_norm_([parameter], 0.5)
            optimizer.step()
    moved = (forms['explicit'][1]() - basis).abs().max()
    assert moved > 0.05  # it trained at all
    torch.testing.assert_close(forms['explicit'][1](), forms['compact'][1](), rtol=0, atol=1e-12)


def test_adam_on_the_two_forms_is_two_methods():
    basis = torch.randn(8, 1, 3, 3, dtype=torch.float64)
    geo = RF.geometry(basis.shape, 8, 3)
    r, _ = RF.compact_factor(basis, geo)
    kernels = []
    for form in ('explicit', 'compact'):
        parameter = torch.zeros(geo.map_shape(form), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([parameter], lr=1e-2)
        for _ in range(5):
            optimizer.zero_grad()
            kernel = (
                basis + RF.explicit_update(basis, parameter, geo)
                if form == 'explicit'
                else RF.compact_kernel(basis, parameter, r, geo)
            )
            kernel.pow(2).sum().backward()
            optimizer.step()
        kernels.append(kernel.detach())
    assert (kernels[0] - kernels[1]).abs().max() > 1e-3


@pytest.mark.parametrize(('shape', 'groups', 'form'), [
    ((96, 1, 3, 3), 96, 'compact'),   # depthwise: 9 C against 9 C^2
    ((32, 16, 3, 3), 1, 'explicit'),  # dense: 9 n both, a tie
    ((32, 4, 3, 3), 4, 'compact'),
    ((16, 4, 5, 5), 2, 'explicit'),   # 18 < 25: a tie
    ((8, 1, 3, 3), 8, 'compact'),
])  # fmt: skip
def test_auto_takes_the_form_with_fewer_parameters(shape, groups, form):
    geo = RF.geometry(shape, groups, 3)
    assert geo.resolve('auto') == form
    assert math.prod(geo.map_shape('explicit')) == geo.explicit_size
    assert math.prod(geo.map_shape('compact')) == geo.compact_size
    assert geo.compact_size <= math.prod(shape) or geo.resolve('auto') == 'explicit'


@pytest.mark.parametrize('init', RF.INITS)
def test_the_compact_start_is_the_explicit_start(init):
    basis = torch.randn(12, 1, 3, 3, dtype=torch.float64)
    geo = RF.geometry(basis.shape, 12, 3)
    r, _ = RF.compact_factor(basis, geo)
    explicit = RF.starting_map(basis, geo, 'explicit', init, 1.0, seed=5).double()
    compact = RF.starting_map(basis, geo, 'compact', init, 1.0, seed=5).double()
    expected = RF.explicit_update(basis, explicit, geo)
    got = RF.compact_kernel(torch.zeros_like(basis), compact, r, geo)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)  # the Kaiming start is drawn in float32
    if init == 'dirac':
        torch.testing.assert_close(got, basis, **EXACT)


def test_kaiming_rows_are_the_start_of_nn_conv2d():
    geo = RF.geometry((64, 1, 3, 3), 64, 3)
    rows = RF.kaiming_rows(geo, 64, torch.Generator().manual_seed(0))
    released = torch.nn.Conv2d(64, 64, 3, bias=False).weight
    bound = 1 / math.sqrt(64 * 9)
    assert rows.abs().max() <= bound
    assert released.abs().max() <= bound
    # Uniform: standard deviation bound / sqrt(3); 36,864 draws estimate it to about 0.4 %.
    assert rows.std().item() == pytest.approx(released.std().item(), rel=0.02)


def test_a_large_start_is_projected_in_pieces(monkeypatch):
    basis = torch.randn(4200, 1, 3, 3)
    geo = RF.geometry(basis.shape, 4200, 3)
    biggest = []
    original = RF.kaiming_rows
    monkeypatch.setattr(RF, 'kaiming_rows', lambda g, rows, gen: biggest.append(rows) or original(g, rows, gen))
    # Not the seed of the basis: the two would share their random numbers.
    start = RF.starting_map(basis, geo, 'compact', 'kaiming', 1.0, seed=12345)
    assert start.shape == (4200, 9)
    assert max(biggest) * geo.fan_in <= 2**24
    # Projecting uniform rows on orthonormal columns keeps their variance, 1 / (3 fan_in).
    assert start.std().item() == pytest.approx(math.sqrt(1 / (3 * geo.fan_in)), rel=0.03)


def test_unfold_matches_a_convolution():
    basis = torch.randn(6, 2, 3, 5, dtype=torch.float64)
    geo = RF.geometry(basis.shape, 3, 3)
    kernel_map = torch.randn(geo.map_shape('explicit'), dtype=torch.float64)
    unfolded = RF.unfold_basis(basis, geo)
    assert unfolded.shape == (4, 27, 15)
    product = kernel_map.reshape(4, 3, 27) @ unfolded
    image = basis.reshape(1, 12, 3, 5)
    torch.testing.assert_close(product.reshape(1, 12, 3, 5), F.conv2d(image, kernel_map, padding=1, groups=4), **EXACT)


@pytest.mark.parametrize(('map_k', 'error'), [(2, ValueError), (0, ValueError), (-3, ValueError), (5, ValueError),
                                              (3.0, TypeError), (True, TypeError)])  # fmt: skip
def test_a_bad_map_is_refused(map_k, error):
    with pytest.raises(error, match='map_k'):
        RF.geometry((8, 1, 3, 3), 8, map_k)


def test_a_basis_that_is_not_finite_is_refused():
    basis = torch.full((4, 1, 3, 3), np.nan)
    with pytest.raises(ValueError, match='not finite'):
        RF.compact_factor(basis, RF.geometry(basis.shape, 4, 3))
