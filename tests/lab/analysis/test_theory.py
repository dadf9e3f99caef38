"""The Gram matrix in closed form, and updates that it predicts wholly, by construction or not at all."""

import math

import pytest
import torch

from lab.analysis import theory as T
from lab.analysis.kernels import KernelSet
from lab.analysis.layers import Geometry, without_scaling
from lab.analysis.report import theory as report
from refconv_mm.layers.transformation import gram_matrices


def depthwise() -> tuple[torch.Tensor, Geometry]:
    return torch.randn(64, 1, 3, 3, dtype=torch.float64), Geometry(64, 1, 64, 9, 3)


def whitened(rows: torch.Tensor) -> torch.Tensor:
    """Rows of the same energy in every direction: `X'X` is a multiple of one."""
    return torch.linalg.qr(rows)[0]


def test_the_gram_matrix_of_ones_counts_covered_positions():
    geo = Geometry(4, 1, 4, 9, 3)
    matrix = gram_matrices(torch.ones(4, 1, 3, 3), geo.width, 3)
    counts = torch.tensor([4, 6, 4, 6, 9, 6, 4, 6, 4], dtype=torch.float64)
    torch.testing.assert_close(matrix.diagonal(dim1=1, dim2=2), 4 * counts[None])
    # A corner is covered by four ninths of what covers the centre.
    found = T.gram_spectrum(torch.ones(4, 1, 3, 3), geo)
    assert found['diagonal'][0][0] / found['diagonal'][1][1] == pytest.approx(4 / 9)
    assert found['mean_diagonal'] == pytest.approx(4 * 49 / 9)


def test_a_step_on_a_white_gradient_has_exponent_2_and_a_plain_one_0():
    kernel, geo = depthwise()
    gradient = whitened(torch.randn(64, 9, dtype=torch.float64))
    matrix = gram_matrices(kernel, geo.width, 3)[0]
    refocused = T.predict(kernel, kernel - 0.1 * (gradient @ matrix).view_as(kernel), geo)
    assert refocused['direction'] == pytest.approx(1)
    assert refocused['exponent'] == pytest.approx(2)
    values = torch.linalg.eigvalsh(matrix).flip(0)
    assert refocused['energy'] == pytest.approx((values**2 / (values**2).sum()).tolist())
    plain = T.predict(kernel, kernel - 0.1 * gradient.view_as(kernel), geo)
    assert plain['exponent'] == pytest.approx(0, abs=1e-9)
    assert plain['energy'] == pytest.approx([1 / 9] * 9)


def test_dense_layers_have_a_matrix_for_each_slice():
    kernel = torch.randn(8, 5, 3, 3, dtype=torch.float64)
    geo = Geometry(40, 40, 1, 9, 3)
    matrices = gram_matrices(kernel, geo.width, 3)
    assert matrices.shape == (40, 9, 9)
    gradient = torch.randn(40, 1, 9, dtype=torch.float64)
    update = (gradient @ matrices).view_as(kernel)
    found = T.predict(kernel, kernel + update, geo)
    assert found['direction'] > 0.6
    assert found['exponent'] == pytest.approx(2, abs=0.2)
    flat, part = T.sampled([kernel, kernel + update], geo, 10)
    assert (part.groups, part.slices, len(flat[0])) == (10, 10, 10)
    (index,) = [i for i in range(40) if torch.equal(kernel.view(40, 3, 3)[i], flat[0][0, 0])]
    torch.testing.assert_close(gram_matrices(flat[0], part.width, 3)[0], matrices[index])


def test_weight_decay_is_told_from_the_gradient():
    """A kernel lies along its own matrix' large eigenvalues, so shrinking it looks like refocusing."""
    kernel, geo = depthwise()
    kernel = kernel + 2  # alike, as blurs are: one large eigenvalue
    gradient = whitened(torch.randn(64, 9, dtype=torch.float64)).view_as(kernel)
    gradient -= (gradient * kernel).sum() / kernel.square().sum() * kernel
    after = 0.99 * kernel - 1e-4 * gradient
    assert T.predict(kernel, after, geo)['exponent'] > 0.5
    assert abs(T.predict(kernel, kernel - 1e-4 * gradient, geo)['exponent']) < 0.2  # white, less one of its numbers
    left, factor, share = without_scaling(kernel, after)
    torch.testing.assert_close(left, kernel - 1e-4 * gradient)
    assert factor == pytest.approx(-0.01)
    assert share == pytest.approx(1 - 1e-8 * gradient.square().sum().item() / (after - kernel).square().sum().item())
    sets = [KernelSet(name, 'x', 'plain', dict(a=each)) for name, each in [('before', kernel), ('after', after)]]
    found = T.measure(sets)
    assert found['rest']['after']['exponent']['mean'] == pytest.approx(
        T.predict(kernel, kernel - 1e-4 * gradient, geo)['exponent'], abs=1e-6
    )
    assert found['mean']['after']['scaling'] == dict(factor=pytest.approx(-0.01), share=pytest.approx(share))
    sets[1] = KernelSet('after', 'x', 'plain', dict(a=0.5 * kernel))
    assert T.measure(sets)['rest']['after']['changed'] == 0


def test_the_angle_between_kernels():
    kernel = torch.zeros(3, 1, 3, 3)
    kernel[:, :, 0, 0] = 2
    other = kernel.clone()
    other[:, :, 0, 1] = 2 * torch.tensor([0, 1e-6, 1])[:, None]  # by 0, a millionth and an eighth of a turn
    assert T.angle_between(kernel, 3 * other) == pytest.approx(math.degrees(1e-6), rel=1e-6)
    assert T.angle_between(kernel[2:], other[2:]) == pytest.approx(45)


def test_the_report_says_that_refocusing_adds_two():
    kernels = dict(before={}, plain={}, refocused={})
    for layer in 'abc':
        kernel, geo = depthwise()
        gradient = torch.randn(64, 9, dtype=torch.float64)  # of any shape: the same for both
        kernels['before'][layer] = kernel
        kernels['plain'][layer] = kernel - 1e-3 * gradient.view_as(kernel)
        kernels['refocused'][layer] = kernel - 1e-3 * (gradient @ gram_matrices(kernel, geo.width, 3)[0]).view_as(
            kernel
        )
    sets = [KernelSet(name, name, 'plain', each) for name, each in kernels.items()]
    text = '\n\n'.join(report(T.measure(sets)))
    row = next(line for line in text.splitlines() if line.startswith('| refocused | ') and line.endswith('|  |'))
    difference, error = map(float, row.split('|')[2].split('±'))
    assert difference == pytest.approx(2, abs=0.1)  # what scaled the layer was taken out of both
    assert error < 0.1
