"""Hessians that are known: quadratics in closed form, a small net by autograd, rescalings that change no output."""

import copy
import json
import math

import pytest
import torch
from mmengine.config import Config
from torch.func import functional_call

from lab.analysis.common import hessian as C
from lab.analysis.common.errors import crossed, mean_and_error, ratio_of_means
from lab.analysis.common.sources import measure_checkpoints, parts_file
from lab.analysis.common.task_loss import TaskLoss
from lab.analysis.common.units import make_scales
from lab.analysis.curvature import ANALYSIS, CurvatureOptions
from lab.analysis.curvature import measure as R
from lab.analysis.driver import write

from tests.conftest import detector, random_checkpoint
from tests.commands.test_tools import tool  # noqa: F401
from tests.lab.analysis.toys import ConvNet, convnet, quadratic, rescale_channels, rescale_filters

SPREAD = torch.linspace(-1, 3, 30).double() ** 3  # from -1 to 27, most of them small, as a net's are
SMALL = CurvatureOptions(eigenvalues=2, probes=3, lanczos=4, starts=2, radii=(0.01, 0.05), ascent=2)


def operators(task: TaskLoss, unit: str = 'raw', *params: str) -> C.Hessians:
    return C.hessians(task, make_scales(task.model, unit, params or ('*',)))


def dense(operator: C.InUnits) -> torch.Tensor:
    return operator @ torch.eye(operator.shape[0], dtype=torch.float64)


def full_hessian(task: TaskLoss) -> torch.Tensor:
    """Of the mean loss, by two passes of autograd, over all parameters in order."""
    net = task.model
    names, shapes = zip(*((name, p.shape) for name, p in net.named_parameters()), strict=True)

    def mean(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        call = (functional_call(net, weights, kwargs=dict(batch, mode='loss')) for batch in task.batches)
        return sum(call) / len(task.batches)

    return torch.autograd.functional.hessian(mean, torch.cat([p.detach().flatten() for p in net.parameters()]))


# ---------------------------------------------------------------------------- a quadratic with a chosen Hessian


def test_the_operator_of_a_quadratic_is_its_hessian():
    task, hessian = quadratic(SPREAD, batches=3, spread=0.5)
    found = operators(task)
    torch.testing.assert_close(dense(found.whole), hessian)
    for part, (of_batch, _) in zip(found.parts, task.batches, strict=True):
        torch.testing.assert_close(dense(part), of_batch)


def test_largest_eigenvalues_of_a_quadratic():
    task, hessian = quadratic(SPREAD, batches=4, spread=0.3)
    truth, vectors = torch.linalg.eigh(hessian)
    found = C.largest(operators(task), 3)
    for i, top in enumerate(found, start=1):
        assert abs(top['value'] - truth[-i]) <= top['residual'] + 1e-9  # what the residual promises
        # Lanczos' eigenvalues are wrong by the square of the residual over the gap, far less than the residual.
        assert top['value'] == pytest.approx(truth[-i].item(), rel=1e-5)
        vector = vectors[:, -i]
        by_batch = [(vector @ of_batch @ vector).item() for of_batch, _ in task.batches]
        assert top['values'] == pytest.approx(by_batch, rel=1e-2)  # the vector is known to the residual, 1e-3
        assert top['error'] == pytest.approx(mean_and_error(by_batch)['error'], rel=0.1)
        assert top['mean'] == pytest.approx(top['value'], rel=1e-5)


def test_an_eigenvalue_s_error_over_batches_is_how_it_scatters():
    """Against the truth: the largest eigenvalue of the mean over as many other batches, drawn 300 times."""
    count, batches, spread = 30, 6, 0.3
    task, hessian = quadratic(SPREAD, batches=batches, spread=spread)
    draws = torch.randn(300, batches, count, count, dtype=torch.float64)
    means = hessian + spread * ((draws + draws.mT) / 2).mean(1)
    scatter = torch.linalg.eigvalsh(means)[:, -1].std().item()
    # A standard error from 6 batches is itself known to 1 / sqrt(2 * 5), a third; twice that.
    assert C.largest(operators(task), 1)[0]['error'] == pytest.approx(scatter, rel=0.65)


def test_the_solver_gives_what_it_has_when_it_is_stopped(monkeypatch):
    task, _ = quadratic(torch.cat([torch.linspace(0.99, 1, 29), torch.tensor([50.0])]))
    monkeypatch.setattr(C, 'RESTARTS', 1)
    monkeypatch.setattr(C, 'TOLERANCE', 1e-15)
    found = C.largest(operators(task), 3)
    assert len(found) < 3
    assert all(top['value'] == pytest.approx(50) for top in found)


def test_the_trace_s_error_is_the_known_one_and_shrinks():
    task, hessian = quadratic(SPREAD)
    found = operators(task)
    many, few = C.trace(found, 400), C.trace(found, 25, seed=1000)
    # Of Rademacher vectors the variance is twice the squares off the diagonal (Hutchinson 1989).
    variance = 2 * (hessian - hessian.diag().diag()).square().sum().item()
    # From 400 samples a standard deviation is known to about 5 % (a few percent more for heavy tails); three times.
    assert many['probe_error'] == pytest.approx(math.sqrt(variance / 400), rel=0.2)
    assert many['mean'] == pytest.approx(SPREAD.sum().item(), abs=3.5 * many['probe_error'])
    assert few['probe_error'] / many['probe_error'] == pytest.approx(4, rel=0.5)
    assert many['batch_error'] is None
    assert many['error'] == many['probe_error']


def test_the_trace_s_error_covers_the_truth():
    task, _ = quadratic(SPREAD)
    found = operators(task)
    inside = 0
    for seed in range(50):
        part = C.trace(found, 8, seed=1000 * seed)
        inside += abs(part['mean'] - SPREAD.sum().item()) < 2.36 * part['error']  # 95 % for 7 degrees of freedom
    assert inside >= 43  # 47.5 expected, standard deviation 1.5


def test_a_diagonal_hessian_s_trace_is_exact_from_one_vector():
    task, _ = quadratic(SPREAD)
    task.batches = [(SPREAD.diag(), torch.zeros(30).double()), (2 * SPREAD.diag(), torch.zeros(30).double())]
    part = C.trace(operators(task), 1)
    assert part['samples'][0] == pytest.approx([SPREAD.sum().item(), 2 * SPREAD.sum().item()])
    assert part['probe_error'] is None
    assert part['batch_error'] == pytest.approx(SPREAD.sum().item() / 2)  # standard deviation 1 / sqrt(2), over sqrt(2)


def test_moments_of_the_density_are_those_of_the_start_and_on_average_of_the_spectrum():
    task, hessian = quadratic(SPREAD)
    part = C.spectrum(operators(task), 6, 60)
    nodes, weights = (torch.tensor(part[key], dtype=torch.float64) for key in ('nodes', 'weights'))
    torch.testing.assert_close(weights.sum(1), torch.ones(60).double())
    for power in range(1, 6):
        moments = (weights * nodes**power).sum(1)
        with C.fixed_seed(7):
            start = torch.randn(30, dtype=torch.float64)
        start /= start.norm()
        exact = start @ torch.linalg.matrix_power(hessian, power) @ start
        assert moments[7].item() == pytest.approx(exact.item(), rel=1e-8)  # Gauss quadrature: exact up to power 11
        truth, error = (SPREAD**power).mean().item(), mean_and_error(moments.tolist())['error']
        assert moments.mean().item() == pytest.approx(truth, abs=3.5 * error)
    assert SPREAD[0] - 1e-9 <= part['smallest'] < 0


def test_the_smoothed_density_has_integral_1_and_the_spectrum_s_mean():
    task, _ = quadratic(SPREAD)
    part = C.spectrum(operators(task), 12, 3)
    # Beyond the spectrum by what the bumps are wide, so that nothing is cut off.
    grid, values = C.density(part, -30, 60)
    assert values.shape == (3, 1024)
    step = grid[1] - grid[0]
    torch.testing.assert_close(values.sum(1) * step, torch.ones(3).double(), rtol=1e-3, atol=0)
    means = [
        sum(n * w for n, w in zip(*each, strict=True)) for each in zip(part['nodes'], part['weights'], strict=True)
    ]
    assert ((values * grid).sum(1) * step).tolist() == pytest.approx(means, rel=1e-2)


def test_a_hessian_that_is_zero_is_refused():
    task, _ = quadratic(torch.zeros(30))
    with pytest.raises(ValueError, match='Does the loss depend on the parameters'):
        C.largest(operators(task), 2)
    with pytest.raises(ValueError, match='--lanczos 5 is more than the Hessian has different eigenvalues'):
        C.spectrum(operators(task), 5, 1)


# ---------------------------------------------------------------------------- a small net against autograd


@pytest.mark.parametrize('mode', ['eval', 'batch'])
def test_a_net_s_operator_is_the_hessian_that_autograd_gives(mode):
    task = convnet(mode=mode)
    truth = full_hessian(task)
    raw = operators(task)
    torch.testing.assert_close(dense(raw.whole), truth, rtol=1e-9, atol=1e-12)
    assert C.largest(raw, 2)[0]['value'] == pytest.approx(torch.linalg.eigvalsh(truth)[-1].item(), rel=1e-5)
    # Filters alone, each in its norm: pick rows and columns, and scale them.
    scales = [
        p.detach().flatten(1).norm(dim=1).repeat_interleave(p[0].numel())
        if p.ndim > 1
        else torch.zeros(len(p)).double()
        for p in task.model.parameters()
    ]
    scale = torch.cat(scales)
    expected = (scale[:, None] * truth * scale)[scale > 0][:, scale > 0]
    torch.testing.assert_close(dense(operators(task, 'filter').whole), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('mode', ['eval', 'batch'])
def test_products_are_the_change_of_the_gradient(mode):
    """Without second derivatives: curvlinops' own product fails this under batch statistics (see LossHessian)."""
    task = convnet(1, mode, relu=False)  # a kink within the step would spoil the differences
    weights = list(task.model.parameters())
    direction = [torch.randn_like(p) for p in weights]
    gradients = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for p, along in zip(weights, direction, strict=True):
                p.add_(along, alpha=step)
        gradients.append(torch.autograd.grad(task.loss(task.batches[0]), weights))
    with torch.no_grad():
        for p, along in zip(weights, direction, strict=True):
            p.add_(along, alpha=1e-5)
    found = operators(task).whole @ direction
    for product, after, before in zip(found, *gradients, strict=True):
        # Central differences: the third derivative times 1e-10, and rounding over the step, 1e-11.
        torch.testing.assert_close(product, (after - before) / 2e-5, rtol=1e-6, atol=1e-7)


def test_the_mean_of_the_parts_is_the_whole():
    found = operators(convnet(), 'filter')
    torch.testing.assert_close(sum(map(dense, found.parts)) / 2, dense(found.whole))


# ---------------------------------------------------------------------------- rescalings that change no output


def figures(task: TaskLoss, unit: str, *params: str) -> list[float]:
    found = operators(task, unit, *params)
    lanczos = C.spectrum(found, 5, 1)
    tops = [top['value'] for top in C.largest(found, 2)]
    return [*tops, C.trace(found, 2)['mean'], *lanczos['nodes'][0]]


# The function is the same to rounding, and so is the Hessian to about 1e-13 after all sums. Lanczos amplifies that, and
# ARPACK may stop a step apart: it leaves residuals of 1e-3, and eigenvalues wrong by about their square over the gap.
SAME = dict(rel=1e-5, abs=1e-8)


def test_scaling_a_convolution_before_batch_norm_fakes_the_raw_figures_only():
    task = convnet()
    loss, raw = task.mean(), figures(task, 'raw', 'conv1.weight')
    filters = figures(task, 'filter')
    rescale_filters(task.model, torch.full((3,), 10.0).double())
    assert task.mean() == pytest.approx(loss, rel=1e-12)
    assert figures(task, 'raw', 'conv1.weight') == pytest.approx([value / 100 for value in raw], **SAME)
    assert figures(task, 'filter') == pytest.approx(filters, **SAME)


def test_filters_scaled_each_by_its_own_factor():
    task = convnet()
    raw, filters = figures(task, 'raw'), figures(task, 'filter')
    rescale_filters(task.model, torch.tensor([0.1, 3.0, 20.0]).double())
    assert figures(task, 'filter') == pytest.approx(filters, **SAME)
    assert figures(task, 'raw')[0] != pytest.approx(raw[0], rel=0.01)


def test_under_batch_statistics_no_running_ones_need_to_follow():
    task = convnet(mode='batch')
    filters = figures(task, 'filter')
    with torch.no_grad():
        task.model.conv1.weight *= torch.tensor([0.2, 3.0, 5.0]).double().view(-1, 1, 1, 1)
    # The eps of batch norm, 1e-5 beside a variance of order 1, is not scaled with the filter.
    assert figures(task, 'filter') == pytest.approx(filters, rel=5e-3, abs=1e-3)


def test_a_layer_scaled_against_the_next_one():
    task = convnet()
    raw, filters = figures(task, 'raw'), figures(task, 'filter')
    rescale_channels(task.model, torch.full((3,), 5.0).double())
    assert figures(task, 'filter') == pytest.approx(filters, **SAME)
    assert figures(task, 'raw')[0] != pytest.approx(raw[0], rel=0.01)
    # Channel by channel the proportions in the next filters change: only units of the weights themselves hold.
    elements = figures(task, 'element')
    rescale_channels(task.model, torch.tensor([0.1, 3.0, 20.0]).double())
    assert figures(task, 'element') == pytest.approx(elements, **SAME)
    assert figures(task, 'filter')[0] != pytest.approx(filters[0], rel=0.01)


# ---------------------------------------------------------------------------- geometry and errors


def test_units_of_parameters():
    net = convnet().model
    raw, filters, elements = (make_scales(net, unit) for unit in ('raw', 'filter', 'element'))
    assert raw.count == sum(p.numel() for p in net.parameters())
    assert list(filters.parameters) == ['conv1.weight', 'conv2.weight', 'last.weight']
    assert [tuple(scale.shape) for scale in filters.scales] == [(3, 1, 1, 1), (2, 1, 1, 1), (2, 1)]
    assert filters.scales[2][1].item() == pytest.approx(net.last.weight[1].norm().item())
    torch.testing.assert_close(elements.scales[2], net.last.weight.detach().abs())
    assert elements.count == filters.count == 3 * 9 + 2 * 3 * 9 + 4
    for unit, message in dict(raw='matches no trainable parameter', filter='matches no filter').items():
        with pytest.raises(ValueError, match=message):
            make_scales(net, unit, ['norm1.*'] if unit == 'filter' else ['backbone.*'])
    with pytest.raises(ValueError, match='unit must be one of'):
        make_scales(net, 'layer')


def test_errors_of_means_and_ratios():
    assert mean_and_error([1.0, 3.0]) == dict(mean=2.0, error=1.0, values=[1.0, 3.0])
    assert mean_and_error([1.0])['error'] is None
    samples = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
    assert crossed(samples) == dict(mean=2.5, error=pytest.approx(math.hypot(1, 0.5)), probe_error=1.0, batch_error=0.5)
    assert crossed(samples[:1, :1])['error'] is None
    # Twice the other on every batch: the scatter is common to both and the ratio is certain.
    assert ratio_of_means([[2.0, 4.0, 9.0]], [[1.0, 2.0, 4.5]]) == dict(ratio=2.0, error=0.0)
    assert ratio_of_means([[1.0, 2.0]], [[-1.0, 0.0]]) is None
    assert ratio_of_means(None, [[1.0]]) is None
    # Independent: the relative errors add in squares.
    one, other = 5 + torch.randn(1, 400).double(), 2 + 0.1 * torch.randn(1, 400).double()
    relative = math.hypot(1 / 5, 0.1 / 2) / 20
    assert ratio_of_means(one.tolist(), other.tolist())['error'] == pytest.approx(2.5 * relative, rel=0.15)


# ---------------------------------------------------------------------------- runs


def trained(seed: int) -> torch.nn.Module:
    """Fitted to the batches of :func:`go`, so that the loss curves upward as at real checkpoints."""
    torch.manual_seed(1)
    task = convnet()
    torch.manual_seed(seed)
    net = task.model = ConvNet().eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        sum(map(task.loss, task.batches)).backward()
        optimizer.step()
    return net


@pytest.fixture
def files(tmp_path) -> list:
    """A net, the same rescaled, and another one."""
    nets = [trained(0), trained(1)]
    twin = copy.deepcopy(nets[0])
    rescale_filters(twin, torch.tensor([0.1, 3.0, 20.0]).double())
    paths = [tmp_path / f'{name}.pth' for name in ('plain', 'scaled', 'other')]
    for path, net in zip(paths, [nets[0], twin, nets[1]], strict=True):
        torch.save(dict(state_dict=net.state_dict(), meta={}), path)
    return list(map(str, paths))


def go(files, out, task=None, options=SMALL):
    torch.manual_seed(1)  # so that every call has the same batches
    task, names = task or convnet(), ['plain', 'scaled', 'other']
    return measure_checkpoints(ANALYSIS, options, Config({}), files, names, task, out)


def test_a_run_and_what_it_tells(files, tmp_path):
    written, _ = write(ANALYSIS, go(files, tmp_path / 'out'), tmp_path / 'out', 'command')
    assert [path.name for path in written] == ['curvature.md', 'curvature.json', 'curvature.png']
    results, text = json.loads(written[1].read_text()), written[0].read_text()
    assert text.startswith('# Curvature of the task loss\n\n`command`\n')
    pair = results['compared'][0]
    assert (pair['of'], pair['over'], len(results['compared'])) == ('scaled', 'plain', 3)
    for quantity, value in pair['values'].items():
        if not quantity.startswith('raw'):
            assert value['ratio'] == pytest.approx(1, rel=1e-6), quantity
            assert value['error'] < 1e-6
    assert pair['values']['raw: largest eigenvalue']['ratio'] != pytest.approx(1, rel=0.01)
    assert results['compared'][1]['values']['filter: trace']['error'] > 1e-3
    assert 'From 2 batches, 95 % are ± 12.7 of these errors' in text  # Student's t for one degree of freedom
    for heading in ('In short', 'Ratios', 'Trace of the Hessian', 'Sharpness'):
        assert f'## {heading}\n' in text


def test_weights_and_buffers_are_untouched():
    task = convnet()
    before = copy.deepcopy(task.model.state_dict())
    R.measure_loaded(task, SMALL)
    assert all(torch.equal(value, before[key]) for key, value in task.model.state_dict().items())
    assert all(p.grad is None for p in task.model.parameters())


def test_an_interruption_loses_one_checkpoint(files, tmp_path, monkeypatch):
    calls, options = [], CurvatureOptions(1, 1, 2, 1, (0.01,), 1)

    def stop(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*args)

    measure = R.measure_loaded
    monkeypatch.setattr(R, 'measure_loaded', stop)
    with pytest.raises(KeyboardInterrupt):
        go(files, tmp_path, options=options)
    assert len(parts_file(ANALYSIS, tmp_path).read_text().splitlines()) == 2
    go(files, tmp_path, options=options)
    assert len(calls) == 4
    go(files, tmp_path, options=options)  # nothing is left to measure
    assert len(calls) == 4
    go(files, tmp_path, convnet(1), options)  # other batches, other results
    assert len(calls) == 7


def test_what_a_run_refuses(files, tmp_path):
    task = convnet()
    with torch.no_grad():
        task.model.last.bias.fill_(math.nan)
    torch.save(task.model.state_dict(), files[2])
    with pytest.raises(ValueError, match='the loss is not finite'):
        go(files, tmp_path)
    for wrong, message in (
        (dict(probes=0), '--probes must be at least 1, got 0'),
        (dict(radii=(0.1, -1.0)), '--radii must be positive'),
        (dict(radii=()), '--radii must be positive'),
    ):
        with pytest.raises(ValueError, match=message):
            CurvatureOptions(**wrong)
    with pytest.raises(ValueError, match='--lanczos 30 must be fewer than the parameters that --params matches, 4'):
        go(files, tmp_path, options=CurvatureOptions(params=('last.weight',)))


class Once(torch.autograd.Function):
    """An operator with one derivative, as mmcv's compiled ones have."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope * 2


def test_a_loss_without_second_derivative_is_refused(files, tmp_path, monkeypatch):
    task = convnet()
    norm, forward = task.model.norm2, task.model.norm2.forward
    monkeypatch.setattr(norm, 'forward', lambda x: Once.apply(forward(x)))
    with pytest.raises(ValueError, match='the loss of ConvNet can not be differentiated twice'):
        go(files, tmp_path, task=task)


def test_ratios_of_what_was_not_found_are_left_out():
    part = dict(hessian=dict(raw=dict(eigenvalues=[], trace=dict(samples=[[1.0]]))),
                sharpness=dict(raw=[dict(radius=0.1, ascent=None)]))  # fmt: skip
    values = R.compare_pairs(dict(a=part, b=part))[0]['values']
    assert values['raw: trace'] == dict(ratio=1.0, error=None)
    assert values['raw: largest eigenvalue'] is None
    assert values['raw: sharpness at 0.1'] is None


QUICK = ('--eigenvalues', 1, '--probes', 1, '--lanczos', 2, '--starts', 1, '--ascent', 1, '--radii', 0.01)


@pytest.mark.slow  # a segmenter by the tool runs in each `make test`
def test_a_detector_by_the_tool(voc, tool, tmp_path):  # noqa: F811
    config, cfg = tmp_path / 'det.py', detector(voc, tmp_path)
    cfg.dump(config)
    start = random_checkpoint(cfg, tmp_path / 'start.pth')
    # The features of a net that was never trained vanish under running statistics.
    data = ('--bn', 'batch', '--batches', 2, '--batch-size', 2)
    options = ('--params', 'bbox_head.*', '--out-dir', tmp_path / 'out', *data, *QUICK)
    code, said = tool('analyse', 'curvature', config, start, *options)
    assert code == 0, said
    assert 'In short' in said
    assert 'a plain checkpoint, as it is' in said
    found = json.loads((tmp_path / 'out' / 'curvature.json').read_text())['measured']['start']
    assert found['hessian']['raw']['eigenvalues'][0]['value'] > 0
    assert found['sharpness']['filter'][0]['step']['mean'] > 0


def test_a_refocused_segmenter_by_the_tool(seg_run, tool, tmp_path):  # noqa: F811
    config = tmp_path / 'seg.py'
    seg_run['cfg'].dump(config)
    data = ('--split', 'val', '--batches', 1, '--batch-size', 1)
    options = ('--params', '*.conv_seg.*', '--names', 'before,refocused', '--out-dir', tmp_path, *data, *QUICK)
    code, said = tool('analyse', 'curvature', config, seg_run['start'], seg_run['last'], *options)
    assert code == 0, said
    assert 'refocused / before' in said
    assert 'fused in memory' in said
    assert (tmp_path / 'curvature.png').stat().st_size > 10_000
    code, said = tool(
        'analyse', 'curvature', config, seg_run['start'], '--params', 'nothing.*', '--out-dir', tmp_path / 'no', *data
    )
    assert code == 2
    assert '--params nothing.* matches no trainable parameter' in said
