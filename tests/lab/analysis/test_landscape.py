"""Landscapes that are known in closed form, invariances, interruptions, and the tool on made data."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

from lab.analysis.common.costs import peak_bytes
from lab.analysis.common.parts import PartStore
from lab.analysis.common.sources import parts_file
from lab.analysis.common.task_loss import TaskLoss, make_task_loss
from lab.analysis.common.text import mean_spread
from lab.analysis.common.weights import content_hash, read_weights
from lab.analysis.driver import for_json
from lab.analysis.landscape import ANALYSIS, LandscapeOptions
from lab.analysis.landscape import measure as L
from lab.analysis.landscape.figure import LEVELS, MOST, draw_lines, draw_maps, levels_of
from lab.analysis.landscape.measure import filter_normalised, gaussian
from lab.analysis.landscape.report import report

from tests.conftest import detector, random_checkpoint
from tests.commands.test_tools import tool  # noqa: F401

PLAN = LandscapeOptions(directions=2, points=5, span=0.8, grid=3, seed=0)


class Net(nn.Module):
    """Layers with mmengine's loss interface: the mean squared error to a target."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs, data_samples, mode):
        return dict(loss=F.mse_loss(self.layers(inputs), data_samples))

    def parse_losses(self, losses):
        return losses['loss'], losses


def regression() -> TaskLoss:
    """Linear regression in float64; two batches of unlike inputs."""
    net = Net(nn.Linear(6, 3)).double()
    data = [dict(inputs=torch.randn(8, 6).double(), data_samples=torch.randn(8, 3).double()) for _ in range(2)]
    return TaskLoss(net, data)


def fresh(folder, key='key') -> PartStore:
    return PartStore(folder / 'points.jsonl', key)


def lines_of(task: TaskLoss, folder, plan: LandscapeOptions = PLAN) -> np.ndarray:
    """Losses along all lines, and of the map."""
    (folder / 'points.jsonl').unlink(missing_ok=True)
    losses = L.sweep(task, plan.all(), plan.seed, fresh(folder))
    return np.array([losses[at] for at in plan.all()])


# Closed forms


def test_linear_regression_is_a_parabola(tmp_path):
    task = regression()
    layer = task.model.layers[0]
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    x, y = (torch.cat([data[key] for data in task.batches]) for key in ('inputs', 'data_samples'))
    residual = x @ weight.T + bias - y
    moves = [x @ filter_normalised(gaussian('layers.0.weight', (3, 6), k, 0), weight).T for k in range(2)]
    losses = L.sweep(task, PLAN.all(), 0, fresh(tmp_path))
    assert len(losses) == 1 + 2 * 4 + 4
    for at, loss in losses.items():
        t = [dict(at).get(k, 0.0) for k in range(2)]
        slope = sum(t[k] * 2 * (residual * moves[k]).mean() for k in range(2))
        bend = sum(t[j] * t[k] * (moves[j] * moves[k]).mean() for j in range(2) for k in range(2))
        # float64: sums of 48 squares, some 1e-15 relative.
        assert loss == pytest.approx(float(residual.square().mean() + slope + bend), rel=1e-12)
    # So the even part of a line is the curvature alone: (L(t) + L(-t)) / 2 - L(0) = t^2 mean (X d)^2.
    line = [losses[at] for at in PLAN.line(0)]
    curvature = float(moves[0].square().mean())
    assert L.increases(line) == pytest.approx([0.4**2 * curvature, 0.8**2 * curvature], rel=1e-10)


def test_filter_normalisation_by_hand():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    draw = torch.tensor([[1.0, 0.0], [1.0, 1.0], [3.0, 4.0]])
    expected = torch.tensor([[5.0, 0.0], [0.0, 0.0], [0.6, 0.8]])
    torch.testing.assert_close(filter_normalised(draw, weight), expected)
    kernel, noise = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    moved = filter_normalised(noise, kernel)
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), kernel.flatten(1).norm(dim=1))
    torch.testing.assert_close(F.cosine_similarity(moved.flatten(1), noise.flatten(1)), torch.ones(4))
    for vector in (torch.randn(5), torch.tensor(2.0)):
        assert not filter_normalised(torch.ones_like(vector), vector).any()


def test_draws_are_standard_normal_and_follow_from_seed_direction_and_name_alone():
    first = gaussian('a.weight', (100, 100), 0, 0)
    torch.rand(3)
    assert torch.equal(gaussian('a.weight', (100, 100), 0, 0), first)
    others = [gaussian('b.weight', (100, 100), 0, 0), gaussian('a.weight', (100, 100), 1, 0)]
    others.append(gaussian('a.weight', (100, 100), 0, 1))
    # Of 10,000 draws: mean 0.01, variance 0.014 and correlations 0.01 are one standard deviation; five are allowed.
    for draw in (first, *others):
        assert abs(float(draw.mean())) < 0.05
        assert abs(float(draw.var()) - 1) < 0.07
    assert (torch.corrcoef(torch.stack([d.flatten() for d in (first, *others)])) - torch.eye(4)).abs().max() < 0.05


def test_two_nets_move_along_the_same_draws():
    """What is added to each, divided by its own filters' norms, is one and the same."""
    torch.manual_seed(1)
    nets = [Net(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).double() for _ in range(2)]
    units = []
    for net in nets:
        before = copy.deepcopy(net.state_dict())
        with L.movable(net, seed=5) as move:
            move(((1, 0.7),))
            after = copy.deepcopy(net.state_dict())
        moved = [key for key in before if not torch.equal(before[key], after[key])]
        assert moved == ['layers.0.weight', 'layers.2.weight']
        change = [(after[key] - before[key]).flatten(1) for key in moved]
        units.append(
            [d / before[key].flatten(1).norm(dim=1, keepdim=True) for d, key in zip(change, moved, strict=True)]
        )
        assert all(d.norm(dim=1).sub(0.7).abs().max() < 1e-12 for d in units[-1])
    for a, b in zip(*units, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# Invariance


def batch_normed(factor: float, mode: str) -> TaskLoss:
    """conv, batch norm, ReLU, conv; one filter scaled by a factor, the running statistics with it."""
    torch.manual_seed(2)
    conv, norm, head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, eps=1e-12), nn.Conv2d(4, 2, 1)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    data = [dict(inputs=torch.randn(5, 2, 6, 6).double(), data_samples=torch.randn(5, 2, 4, 4).double())]
    net = Net(conv, norm, nn.ReLU(), head).double()
    with torch.no_grad():
        for tensor in (conv.weight, conv.bias, norm.running_mean):
            tensor[1] *= factor
        norm.running_var[1] = factor**2 * (norm.running_var[1] + norm.eps) - norm.eps
    return TaskLoss(net, data, mode)


@pytest.mark.parametrize('mode', ['eval', 'batch'])
def test_a_filter_rescaled_before_batch_norm_changes_nothing(mode, tmp_path):
    # float64. With batch statistics, the epsilon of 1e-12 is not scaled: relative to variances of order 1, 1e-12.
    plain, scaled = (lines_of(batch_normed(factor, mode), tmp_path) for factor in (1.0, 7.3))
    np.testing.assert_allclose(scaled, plain, rtol=1e-10)
    assert np.ptp(plain) > 0.1 * plain[0]  # and the lines are not just flat


def test_without_the_normalisation_it_would(monkeypatch, tmp_path):
    monkeypatch.setattr(L, 'filter_normalised', lambda draw, weight: draw.to(weight) * (weight.ndim > 1))
    plain, scaled = (lines_of(batch_normed(factor, 'batch'), tmp_path) for factor in (1.0, 7.3))
    assert np.abs(scaled / plain - 1).max() > 0.05


def compensated(factor: float, channels: slice, depthwise: bool) -> TaskLoss:
    """conv, ReLU, conv without batch norm: channels scaled by a factor, and what reads them by its inverse."""
    torch.manual_seed(3)
    first, second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4 if depthwise else 1)
    data = [dict(inputs=torch.randn(5, 2, 8, 8).double(), data_samples=torch.randn(5, 4, 4, 4).double())]
    net = Net(first, nn.ReLU(), second).double()
    with torch.no_grad():
        first.weight[channels] *= factor
        first.bias[channels] *= factor
        second.weight[(channels, slice(None)) if depthwise else (slice(None), channels)] /= factor
    return TaskLoss(net, data)


@pytest.mark.parametrize(('channels', 'depthwise'), [(slice(1, 2), True), (slice(None), False), (slice(None), True)])
def test_rescaling_that_the_next_layer_takes_out_changes_nothing(channels, depthwise, tmp_path):
    plain, scaled = (lines_of(compensated(factor, channels, depthwise), tmp_path) for factor in (1.0, 7.3))
    np.testing.assert_allclose(scaled, plain, rtol=1e-10)  # float64 through two layers


def test_one_channel_of_a_dense_next_layer_is_not_covered(tmp_path):
    """The documented limit: such a rescaling changes the proportions within the next layer's filters."""
    plain, scaled = (lines_of(compensated(factor, slice(1, 2), False), tmp_path) for factor in (1.0, 7.3))
    assert scaled[0] == pytest.approx(plain[0], rel=1e-12)
    assert np.abs(scaled / plain - 1).max() > 0.01


# Restored, kept, and no more memory than evaluation


def counted(task: TaskLoss, monkeypatch, stop_at: int | None = None, error: type = KeyboardInterrupt) -> list[int]:
    """Counts evaluations, one of which may be interrupted."""
    calls, mean = [0], task.mean

    def evaluate() -> float:
        calls[0] += 1
        if calls[0] == stop_at:
            raise error
        return mean()

    monkeypatch.setattr(task, 'mean', evaluate)
    return calls


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError, None])
def test_weights_are_restored_bit_for_bit(error, monkeypatch, tmp_path):
    task = batch_normed(1.0, 'batch')
    task.model.float()
    task.batches = [{key: value.float() for key, value in task.batches[0].items()}]
    before = copy.deepcopy(task.model.state_dict())
    calls = counted(task, monkeypatch, stop_at=4 if error else None, error=error or KeyError)
    if error:
        with pytest.raises(error):
            L.sweep(task, PLAN.all(), 0, fresh(tmp_path))
    else:
        L.sweep(task, PLAN.all(), 0, fresh(tmp_path))
    assert calls[0] == (4 if error else len(PLAN.all()))
    for key, value in task.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in task.model.parameters())


def test_an_interrupted_sweep_goes_on_and_gives_the_same(monkeypatch, tmp_path):
    whole = regression()
    expected = L.sweep(whole, PLAN.all(), 0, fresh(tmp_path / 'whole'))
    task = TaskLoss(whole.model, whole.batches)
    counted(task, monkeypatch, stop_at=6)
    with pytest.raises(KeyboardInterrupt):
        L.sweep(task, PLAN.all(), 0, fresh(tmp_path))
    with (tmp_path / 'points.jsonl').open('a') as file:
        file.write('{"key": "key", "part": "[[0, 0.')  # a line that a kill cut off
    again, advanced = TaskLoss(whole.model, whole.batches), []
    calls = counted(again, monkeypatch)
    losses = L.sweep(again, PLAN.all(), 0, fresh(tmp_path), advanced.append)
    assert calls[0] == len(advanced) == len(PLAN.all()) - 5
    assert losses == expected
    # All are known now; a finer plan adds what is missing and no more.
    calls[0] = 0
    assert L.sweep(again, PLAN.all(), 0, fresh(tmp_path)) == expected
    assert calls[0] == 0
    finer = LandscapeOptions(directions=3, points=9, span=0.8, grid=3, seed=0)
    L.sweep(again, finer.all(), 0, fresh(tmp_path))
    assert calls[0] == len(set(finer.all()) - set(PLAN.all())) == 2 * 4 + 8


def test_points_of_another_checkpoint_mode_seed_or_batch_are_not_taken(tmp_path):
    torch.manual_seed(0)
    task, state = batch_normed(1.0, 'eval'), batch_normed(1.0, 'eval').model.state_dict()
    other = copy.deepcopy(state)
    other['layers.0.weight'].view(-1)[3] += 1e-12
    stats = dict(state, **{'layers.1.running_mean': state['layers.1.running_mean'] + 1})

    def key_of(task: TaskLoss, values: dict, seed: int) -> str:
        return content_hash([*L.key(LandscapeOptions(seed=seed)), task.fingerprint, values])

    keys = [key_of(task, state, 0), key_of(task, state, 1), key_of(batch_normed(1.0, 'batch'), state, 0)]
    keys += [key_of(task, values, 0) for values in (other, stats)]
    keys.append(key_of(TaskLoss(task.model, task.batches * 2), state, 0))
    assert len(set(keys)) == 6
    assert key_of(batch_normed(1.0, 'eval'), copy.deepcopy(state), 0) == keys[0]
    fresh(tmp_path, keys[0]).add('a', 1.25)
    fresh(tmp_path, keys[1]).add('b', None)
    assert fresh(tmp_path, keys[0]).known == dict(a=1.25)
    assert fresh(tmp_path, keys[1]).known == dict(b=None)
    assert fresh(tmp_path, keys[3]).known == {}


def test_no_graph_and_one_copy_of_the_weights(tmp_path):
    net = Net(*[nn.Conv2d(32, 32, 3, padding=1, bias=False) for _ in range(6)])
    data = [dict(inputs=torch.randn(2, 32, 24, 24), data_samples=torch.randn(2, 32, 24, 24))]
    weights = sum(p.nbytes for p in net.parameters())
    largest = max(p.nbytes for p in net.parameters())

    def evaluation():
        task = TaskLoss(copy.deepcopy(net), data)
        return torch.no_grad()(lambda: task.loss(data[0]))

    def sweeping():
        task, fresh_each_time = TaskLoss(copy.deepcopy(net), data), itertools.count()  # the second call is measured
        points = [(), *PLAN.line(0), *PLAN.map()[0]]
        return lambda: L.sweep(task, points, 0, fresh(tmp_path / str(next(fresh_each_time))))

    # Measured: one copy of the weights more than a forward pass without a graph, to the byte. A graph would keep five
    # activations of 147 kB more.
    assert peak_bytes(sweeping) <= peak_bytes(evaluation) + weights + largest


def test_a_loss_that_is_not_finite(tmp_path):
    task = regression()
    exploding = TaskLoss(Net(nn.Linear(6, 3)).double(), task.batches)
    with torch.no_grad():
        exploding.model.layers[0].weight.fill_(1e308)
    with pytest.raises(ValueError, match=r'the loss at the checkpoint itself is (nan|inf)'):
        L.sweep(exploding, PLAN.all(), 0, fresh(tmp_path))
    assert torch.equal(exploding.model.layers[0].weight, torch.full((3, 6), 1e308, dtype=torch.float64))


# Plans and figures of sharpness


def test_plans():
    plan = LandscapeOptions(directions=3, points=7, span=0.9, grid=5)
    steps = plan.distances(7)
    assert steps == pytest.approx([-0.9, -0.6, -0.3, 0, 0.3, 0.6, 0.9])
    assert steps[3] == 0
    assert [-t for t in steps] == steps[::-1]
    assert plan.all()[0] == ()
    assert len(plan.all()) == len(set(plan.all())) == 1 + 3 * 6 + (5 * 5 - 1 - 2 * 2)  # the ends of the axes are shared
    assert plan.map()[0][4] == ((0, 0.9), (1, -0.9))
    assert plan.map()[2][2] == ()
    assert LandscapeOptions(grid=0).map() == []
    for wrong in (dict(directions=0), dict(points=4), dict(points=1), dict(grid=2), dict(span=0), dict(span=math.inf)):
        with pytest.raises(ValueError, match=f'--{next(iter(wrong))} must be'):
            LandscapeOptions(**wrong)


def test_how_far_to_a_rise():
    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert L.reach(steps, [2.0, 1.5, 1.0, 1.5, 2.0], 0.6) == (pytest.approx(0.6), True)
    assert L.reach(steps, [2.0, 1.5, 1.0, 1.0, 3.0], 0.5) == (pytest.approx((0.5 + 0.625) / 2), True)
    assert L.reach(steps, [2.0, 1.5, 1.0, 0.8, 1.1], 0.5) == (pytest.approx((0.5 + 1.0) / 2), False)
    assert L.reach(steps, [math.nan, 1.2, 1.0, math.nan, math.nan], 0.5) == (pytest.approx((0.5 + 0.0) / 2), True)
    assert L.increases([4.0, 1.5, 1.0, 2.5, 2.0]) == [1.0, 2.0]


def told(results: dict) -> str:
    first, rest = report(results)
    return '\n\n'.join([*first, *rest])


def net_of(name: str, bend: float, plan: LandscapeOptions, centre: float = 1.0) -> dict:
    """A landscape of `centre + bend * |t|^2`, steeper by a tenth from direction to direction."""
    lines = [
        [centre + bend * (1 + k / 10) * t * t for t in plan.distances(plan.points)] for k in range(plan.directions)
    ]
    steps = plan.distances(plan.grid) if plan.grid else []
    grid = [[centre + bend * (x * x + y * y) for x in steps] for y in steps]
    return dict(name=name, path=f'{name}.pth', what='plain', centre=centre, lines=lines, map=grid)


def test_the_tables_name_known_figures():
    plan = LandscapeOptions(directions=3, points=21, grid=21)
    results = L.sum_up([net_of('sharp', 2.0, plan), net_of('flat', 0.5, plan, 3.0)], plan, regression())
    text = told(results)
    assert 'Batch norm uses the running statistics as stored' in text
    assert results['amounts'] == [0.1, 0.5, 1.0]  # of the first one's loss, the same for both
    # sqrt(amount / bend) for the three directions; between the 0.1-spaced points the parabola is taken for straight,
    # which overestimates the loss and so underestimates the distance, by less than a tenth of a step.
    for net, bend in zip(results['checkpoints'], (2.0, 0.5), strict=True):
        for amount, found in zip(results['amounts'], net['reach'], strict=True):
            for k, (distance, complete) in enumerate(found):
                true = math.sqrt(amount / (bend * (1 + k / 10)))
                assert complete == (true <= 1)
                assert min(true, 1) - 0.01 <= distance <= min(true, 1) + 1e-12
    assert '| 0.5 | 0.55 ± 0.05 | 0.138 ± 0.0125 |' in text
    assert '| 0.5 | -0.413 ± 0.0375 (0 of 3) |' in text
    flat = results['checkpoints'][1]['reach'][0]
    assert f'| flat | 3.0000 | {mean_spread([t for t, _ in flat])} |' in text
    assert text.split('| flat |')[1].splitlines()[0].endswith('| > 1 |')  # sqrt(1 / 0.6), the nearest, is beyond
    # The share of the square within a circle of radius sqrt(amount / bend): pi r^2 / 4, on a 21 x 21 grid to 3 %.
    assert results['checkpoints'][0]['share'] == pytest.approx([math.pi * r / 4 for r in (0.05, 0.25, 0.5)], abs=0.03)
    few = LandscapeOptions(1, 3, grid=0)
    assert told(L.sum_up([net_of('one', 1.0, few)], few, regression())).count('##') == 2


def test_figures_of_wide_flat_and_broken_landscapes():
    plan = LandscapeOptions(directions=2, points=5, grid=5)
    wide, flat, broken = net_of('wide', 500.0, plan), net_of('flat', 0.0, plan), net_of('broken', 3.0, plan)
    broken['lines'][0][0] = broken['map'][0][0] = math.nan
    results = L.sum_up([wide, flat, broken], plan, regression())
    assert '| 1 | 525 ± 35.4 |' in told(results)
    assert '| not finite | not finite |' in told(results)
    assert mean_spread([2000.0, 2200.0], '+') == '+2,100 ± 141'
    json.dumps(for_json(results), allow_nan=False)
    for draw in (draw_lines, draw_maps):
        figure = draw(results)
        figure.canvas.draw()
        plt.close(figure)
    levels, _ = levels_of(np.array([1.0, 2.0, np.nan, 1e6]))
    assert (levels[0], levels[-1], len(levels)) == (1.0, pytest.approx(MOST), LEVELS)
    levels, _ = levels_of(np.array([1.0, 1.0]))
    assert (np.diff(levels) > 0).all()


# The tool


def options(out, *more: object) -> list:
    small = ['--batches', 2, '--batch-size', 2, '--directions', 2, '--points', 3, '--grid', 3]
    return [*small, '--span', 0.5, '--out-dir', out, *more]


def test_the_tool_on_a_detector(tool, voc, tmp_path):  # noqa: F811
    cfg = detector(voc, tmp_path, kind='')
    cfg.dump(tmp_path / 'config.py')
    paths = [str(random_checkpoint(cfg, tmp_path / f'{name}.pth')) for name in ('a', 'b')]
    command = ['analyse', 'landscape', tmp_path / 'config.py', *paths, '--names', 'before,after', '--bn', 'batch']
    code, said = tool(*command, *options(tmp_path / 'out'))
    assert code == 0, said
    assert "Batch norm uses the batch's own statistics" in said
    assert '2 x 2 images of the train split' in said
    results = json.loads((tmp_path / 'out' / 'landscape.json').read_text())
    task = make_task_loss(cfg, 2, 2, mode='batch')
    for net, path in zip(results['checkpoints'], paths, strict=True):
        task.load(read_weights(cfg, path)[1])
        assert net['centre'] == task.mean() == net['lines'][1][1] == net['map'][1][1]
        assert np.isfinite(net['map']).all()
    assert results['checkpoints'][0]['centre'] != results['checkpoints'][1]['centre']
    for name in ('landscape.md', 'landscape.json', 'landscape.png', 'landscape_map.png'):
        assert (tmp_path / 'out' / name).stat().st_size > 500
    code, said = tool(*command, *options(tmp_path / 'new', '--points', 4))
    assert code == 2
    assert '--points must be odd' in said
    assert not (tmp_path / 'new').exists()


def test_the_tool_on_a_refocused_segmenter_interrupted(tool, seg_run, monkeypatch, tmp_path):  # noqa: F811
    seg_run['cfg'].dump(tmp_path / 'config.py')
    command = [
        'analyse',
        'landscape',
        tmp_path / 'config.py',
        seg_run['start'],
        seg_run['last'],
        '--names',
        'before,refocused',
    ]
    command += options(tmp_path / 'out', '--split', 'val', '--batch-size', 1)
    calls, mean = [0], TaskLoss.mean

    def evaluate(task, stop_at=None):
        calls[0] += 1
        if calls[0] == stop_at:
            raise KeyboardInterrupt
        return mean(task)

    monkeypatch.setattr(TaskLoss, 'mean', lambda task: evaluate(task, stop_at=12))
    code, said = tool(*command)
    assert code == 130
    assert 'the same command goes on from there' in said
    assert list((tmp_path / 'out').iterdir()) == [parts_file(ANALYSIS, tmp_path / 'out')]
    points = 1 + 2 * 2 + 4  # of each net: the first is done, and two of the second
    assert len(parts_file(ANALYSIS, tmp_path / 'out').read_text().splitlines()) == 11
    calls[0] = 0
    monkeypatch.setattr(TaskLoss, 'mean', evaluate)
    code, said = tool(*command)
    assert code == 0, said
    assert calls[0] == 2 * points - 11
    assert f'before: 0 of {points} points to evaluate' in said
    assert 'refocused checkpoint, fused in memory' in said
    results = json.loads((tmp_path / 'out' / 'landscape.json').read_text())
    nets = results['checkpoints']
    assert len({net['key'] for net in nets}) == 2
    task = make_task_loss(seg_run['cfg'], 2, 1, 'val')
    task.load(read_weights(seg_run['cfg'], str(seg_run['last']))[1])
    assert nets[1]['centre'] == task.mean()
    calls[0] = 0
    code, said = tool(*command, '--force')
    assert (code, calls[0]) == (0, 0)
