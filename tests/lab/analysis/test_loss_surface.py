"""Curvature and lines of losses that are known in closed form, and units that rescaling can't fake."""

import copy
import math

import pytest
import torch
from torch.autograd.functional import hessian as dense_hessian

from lab.analysis import loss_surface as L
from lab.analysis.errors import crossed, mean_and_error, ratio_of_means

from .toys import convnet, quadratic, rescale_filters


def test_eigenvalues_and_trace_of_a_quadratic():
    values = torch.linspace(-2, 6, 30)
    task, _ = quadratic(values, batches=3, spread=0.1)
    found = L.measure_curvature(task, 2, 60, 0)['raw']
    assert [top['value'] for top in found['eigenvalues']] == pytest.approx(values.flip(0)[:2].tolist(), rel=1e-3)
    for top in found['eigenvalues']:  # the mean over the batches is the eigenvalue of the mean
        assert top['mean'] == pytest.approx(top['value'], rel=1e-3)
        assert 0 < top['error'] < 0.5
    assert abs(found['trace']['mean'] - float(values.sum())) < 4 * found['trace']['error']


def test_the_filter_unit_is_the_hessian_between_the_norms():
    task, hessian = quadratic(torch.linspace(-2, 6, 30))
    norms = task.model.matrix.detach().norm(dim=1).repeat_interleave(4)
    expected = torch.linalg.eigvalsh(norms.diag() @ hessian[:24, :24] @ norms.diag())
    found = L.measure_curvature(task, 1, 1, 0)['filter']
    assert found['eigenvalues'][0]['value'] == pytest.approx(expected[-1].item(), rel=1e-3)
    displaced = L.DisplacedLoss(task, 'filter')
    assert [tuple(u.shape) for u in displaced.u] == [(6, 4)]  # vectors stay fixed


def test_the_product_is_that_of_a_net_with_batch_norm():
    task = convnet()
    displaced = L.DisplacedLoss(task, 'filter')
    operator = L.hessian(displaced, task.batches)
    shapes = [tuple(u.shape) for u in displaced.u]

    def loss(flat):
        parts = flat.split([math.prod(shape) for shape in shapes])
        moved = zip(displaced.starts.items(), parts, shapes, strict=True)
        weights = {name: p + displaced.scales[name] * part.view(shape) for (name, p), part, shape in moved}
        return sum(task.loss(batch, weights) for batch in task.batches) / len(task.batches)

    expected = dense_hessian(loss, torch.zeros(operator.shape[0], dtype=torch.float64))
    vector = torch.randn(operator.shape[0], dtype=torch.float64)
    torch.testing.assert_close(operator @ vector, expected @ vector)


def test_rescaled_filters_fake_the_raw_figures_alone():
    task = convnet()
    before = L.measure_curvature(task, 1, 2, 0), L.measure_lines(task, 2, 5, 0.3, 0)
    other = copy.deepcopy(task)
    rescale_filters(other.model, torch.full((3,), 3.0, dtype=torch.float64))
    after = L.measure_curvature(other, 1, 2, 0), L.measure_lines(other, 2, 5, 0.3, 0)
    assert after[0]['loss']['mean'] == pytest.approx(before[0]['loss']['mean'])
    top = [found[0]['filter']['eigenvalues'][0]['value'] for found in (before, after)]
    assert top[0] == pytest.approx(top[1], rel=1e-3)
    trace = [found[0]['filter']['trace']['samples'] for found in (before, after)]
    torch.testing.assert_close(torch.tensor(trace[0]), torch.tensor(trace[1]))
    assert before[0]['raw']['trace']['mean'] != pytest.approx(after[0]['raw']['trace']['mean'], rel=0.1)
    torch.testing.assert_close(torch.tensor(before[1]['rise']), torch.tensor(after[1]['rise']))


def test_a_line_moves_every_filter_by_its_norm_and_nothing_else():
    task = convnet()
    state = copy.deepcopy(task.model.state_dict())
    found = L.measure_lines(task, 2, 5, 0.2, 7)
    assert all(torch.equal(value, state[key]) for key, value in task.model.state_dict().items())
    assert found['distances'] == pytest.approx([-0.2, -0.1, 0, 0.1, 0.2])
    weight = state['conv1.weight']
    draw = L.direction('conv1.weight', weight.shape, 0, 7)
    torch.testing.assert_close(draw.flatten(1).norm(dim=1), torch.ones(3))
    assert torch.equal(draw, L.direction('conv1.weight', weight.shape, 0, 7))
    assert not torch.equal(draw, L.direction('conv1.weight', weight.shape, 1, 7))
    with torch.no_grad():  # the last point of the first line by hand
        for name, p in task.model.named_parameters():
            if p.ndim > 1:
                norms = p.flatten(1).norm(dim=1).view(-1, *[1] * (p.ndim - 1))
                p += 0.2 * norms * L.direction(name, p.shape, 0, 7)
        loss = sum(float(task.loss(batch)) for batch in task.batches) / 2
    assert found['lines'][0][-1] == pytest.approx(loss, rel=1e-9)
    ends = found['lines'][0][0], found['lines'][0][-1]
    assert found['rise'][0][-1] == pytest.approx(sum(ends) / 2 - found['centre'])
    assert found['lines'][0][2] == found['lines'][1][2] == found['centre']


def test_errors_by_hand():
    assert mean_and_error([1.0, 3.0]) == dict(mean=2.0, error=pytest.approx(1.0), values=[1.0, 3.0])
    assert mean_and_error([1.0])['error'] is None
    samples = torch.tensor([[1.0, 3.0], [3.0, 5.0]])
    assert crossed(samples) == dict(mean=3.0, error=pytest.approx(math.sqrt(2)))
    assert ratio_of_means([[2.0, 4.0]], [[1.0, 2.0]]) == dict(mean=2.0, error=pytest.approx(0))
    assert ratio_of_means([[2.0]], [[-1.0]]) is None
