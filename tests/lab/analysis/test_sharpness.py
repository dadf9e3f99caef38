"""Sharpness in closed form, on quadratics; rescalings that change no output; weights put back."""

import math

import pytest
import torch
from torch import nn

from lab.analysis.common.sharpness import displaced, sharpness
from lab.analysis.common.task_loss import TaskLoss
from lab.analysis.common.units import Scales, make_scales

from tests.lab.analysis.toys import convnet, quadratic, rescale_channels, rescale_filters

VALUES = torch.linspace(0.1, 4, 30).double() ** 2


def diagonal(units: Scales) -> torch.Tensor:
    """The diagonal of S."""
    parts = zip(units.scales, units.tensors, strict=True)
    return torch.cat([scale.expand_as(p).flatten() for scale, p in parts])


def slope_and_hessian(task: TaskLoss, batch: tuple, units: Scales) -> tuple[torch.Tensor, torch.Tensor]:
    """By u, at u = 0, in closed form; of the parameters that move."""
    hessian, linear = batch
    scale = diagonal(units)
    count = len(scale)
    slope = (hessian @ task.model.flat.detach() + linear)[:count] * scale
    return slope, scale[:, None] * hessian[:count, :count] * scale


@pytest.mark.parametrize('unit', ['raw', 'filter', 'element'])
def test_one_step_on_a_quadratic(unit):
    task, _ = quadratic(VALUES, batches=3, spread=0.2)
    units = make_scales(task.model, unit)
    rows = sharpness(task, units, [0.01, 0.3], 1)
    for row, radius in zip(rows, [0.01, 0.3], strict=True):
        expected = []
        for batch in task.batches:
            slope, hessian = slope_and_hessian(task, batch, units)
            expected.append(
                (radius * slope.norm() + radius**2 / 2 * slope @ hessian @ slope / slope.norm() ** 2).item()
            )
        assert row['step']['values'] == pytest.approx(expected, rel=1e-9)  # rounding: losses of 1e2 are subtracted
        assert row['ascent'] == row['step']
        assert row['step']['error'] == pytest.approx(torch.tensor(expected).std().item() / math.sqrt(3), rel=1e-5)


def exact_maximum(slope: torch.Tensor, hessian: torch.Tensor, rho: float) -> float:
    """Of `slope' u + u' hessian u / 2` over the ball: `(t - hessian) u = slope` with t above all eigenvalues."""
    values, vectors = torch.linalg.eigh(hessian)
    along = vectors.T @ slope
    low, high = values[-1].item(), values[-1].item() + slope.norm().item() / rho + 1
    for _ in range(200):
        middle = (low + high) / 2
        longer = (along / (middle - values)).norm() > rho
        low, high = (middle, high) if longer else (low, middle)
    u = along / (high - values)
    return (along @ u + (values * u * u).sum() / 2).item()


@pytest.mark.parametrize('unit', ['raw', 'filter'])
@pytest.mark.parametrize('radius', [0.01, 0.5])
def test_ascent_finds_the_maximum_of_a_quadratic(unit, radius):
    values = torch.cat([-VALUES[:10], VALUES[10:]])  # a saddle: some directions bend down
    task, _ = quadratic(values)
    units = make_scales(task.model, unit)
    truth = exact_maximum(*slope_and_hessian(task, task.batches[0], units), radius)
    (five,), (many,) = (sharpness(task, units, [radius], steps) for steps in (5, 40))
    first = five['step']['mean']
    assert first <= five['ascent']['mean'] <= many['ascent']['mean'] <= truth * (1 + 1e-9)
    assert five['ascent']['mean'] > 0.9 * truth
    assert many['ascent']['mean'] > 0.999 * truth


def test_a_linear_loss_rises_by_the_radius_times_the_slope():
    task, _ = quadratic(torch.zeros(30))
    for unit in ('raw', 'filter', 'element'):
        units = make_scales(task.model, unit)
        slope = slope_and_hessian(task, task.batches[0], units)[0]
        (row,) = sharpness(task, units, [0.02], 3)
        assert row['ascent']['mean'] == pytest.approx(0.02 * slope.norm().item(), rel=1e-9)


def test_at_the_top_there_is_no_way_up():
    task, hessian = quadratic(-VALUES)
    with torch.no_grad():
        task.model.matrix.zero_()
        task.model.vector.zero_()
    task.batches = [(hessian, torch.zeros(30).double())]
    (row,) = sharpness(task, make_scales(task.model, 'raw'), [0.1], 3)
    assert (row['step']['mean'], row['ascent']['mean']) == (0, 0)
    task.batches = [(hessian, torch.full((30,), 1e-6).double())]  # a step down the other side
    (row,) = sharpness(task, make_scales(task.model, 'raw'), [0.1], 1)
    assert row['step']['mean'] < 0
    assert row['ascent']['mean'] == 0


def figures(task: TaskLoss, unit: str) -> list[float]:
    rows = sharpness(task, make_scales(task.model, unit), [0.01, 0.05], 3)
    return [value for row in rows for part in ('step', 'ascent') for value in row[part]['values']]


@pytest.mark.parametrize('mode', ['eval', 'batch'])
def test_rescaling_filters_fakes_raw_sharpness_only(mode):
    task = convnet(mode=mode)
    before = {unit: figures(task, unit) for unit in ('raw', 'filter', 'element')}
    rescale_filters(task.model, torch.tensor([0.3, 3.0, 10.0]).double())
    # With batch statistics the eps of batch norm is not scaled along: 1e-5 beside variances down to 1e-2.
    tolerance = 1e-9 if mode == 'eval' else 5e-3
    for unit in ('filter', 'element'):
        assert figures(task, unit) == pytest.approx(before[unit], rel=tolerance)
    assert figures(task, 'raw') != pytest.approx(before['raw'], rel=0.02)


def test_rescaling_channels_can_t_fake_sharpness_by_element():
    task = convnet()
    before = {unit: figures(task, unit) for unit in ('filter', 'element')}
    rescale_channels(task.model, torch.tensor([0.3, 3.0, 10.0]).double())
    assert figures(task, 'element') == pytest.approx(before['element'], rel=1e-9)
    assert figures(task, 'filter') != pytest.approx(before['filter'], rel=0.02)


def test_weights_are_put_back_bit_for_bit_also_after_an_error():
    task = convnet()
    before = [p.detach().clone() for p in task.model.parameters()]
    sharpness(task, make_scales(task.model, 'raw'), [0.1, 10.0], 4)
    assert all(torch.equal(p, start) for p, start in zip(task.model.parameters(), before, strict=True))
    tensors = list(task.model.parameters())

    def interrupted():
        with displaced(make_scales(task.model, 'raw')) as move:
            move([torch.ones_like(p) for p in tensors])
            assert not torch.equal(tensors[0], before[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(p, start) for p, start in zip(tensors, before, strict=True))


class Cliff(nn.Module):
    """Infinite beyond 1."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, 1).double())

    def forward(self, x, mode):
        return torch.where(self.w < 1, self.w, torch.inf).sum()

    def parse_losses(self, loss):
        return loss, {}


def test_a_loss_that_is_not_finite_has_no_figure():
    task = TaskLoss(Cliff(), [(torch.zeros(1),)] * 2)
    near, far = sharpness(task, make_scales(task.model, 'raw'), [0.5, 2.0], 2)
    assert near['ascent']['mean'] == pytest.approx(0.5)
    assert far['step'] is None
    assert far['ascent'] is None
