"""The root form trains as the released layer does, whose map trains: over shapes, optimizers and options."""

import copy

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from torch import nn

from refconv_mm import RefConv2d, RefConvOptions
from refconv_mm.layers.transformation import gain_scale
from tests.layers.released import ReleasedLayer, random_

KINDS = [(8, 8, 1), (16, 16, 16), (12, 24, 12), (12, 8, 4), (3, 8, 1), (4, 4, 2)]


def pair(kind, side, start='zero', seed=0, **options) -> tuple[ReleasedLayer, RefConv2d]:
    """The released layer and ours, with one basis and one start of the map."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(kind[0], kind[1], side, padding=(side[0] // 2, side[1] // 2), groups=kind[2], bias=False).double()
    released = ReleasedLayer(conv, **options)
    ours = RefConv2d.from_conv2d(
        conv, RefConvOptions(init='zero' if options.get('identity', True) else 'dirac', **options)
    )
    if start == 'random':
        random_(released)
        ours.load_state_dict(released.state())
    elif not options.get('identity', True):
        rows = torch.arange(len(released.convmap))
        middle = released.convmap.shape[-1] // 2
        with torch.no_grad():
            released.convmap[rows, rows % kind[2], middle, middle] = 1 / released.scale
    return released, ours


def lars(parameters, lr, momentum=0.9, trust=0.02):
    """A LARS step: the step of each tensor has a share of the tensor's norm; from zero, the plain gradient."""
    buffers = [torch.zeros_like(p) for p in parameters]

    def step():
        with torch.no_grad():
            for p, buffer in zip(parameters, buffers, strict=True):
                norm, size = p.grad.norm(), p.norm()
                scale = trust * size / norm if size > 0 and norm > 0 else torch.tensor(1.0)
                buffer.mul_(momentum).add_(p.grad, alpha=scale.item())
                p.sub_(buffer, alpha=lr)

    return step


@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=3),
    side=st.sampled_from([(3, 3), (5, 3), (7, 7)]), map_k=st.sampled_from([1, 3]), gain=st.sampled_from([None, 1.0]),
    start=st.sampled_from(['zero', 'random', 'alone']),
    method=st.sampled_from(['plain', 'nesterov', 'dampening', 'lars']),
    decay=st.sampled_from([0.0, 1e-2]), clip=st.booleans(), seed=st.integers(0, 999),
)  # fmt: skip
def test_300_steps_are_the_released_layer_s(kinds, side, map_k, gain, start, method, decay, clip, seed):
    """Several layers with one curved loss, and the norm of all their gradients clipped in every step."""
    if method == 'lars':
        start = 'zero'  # the trust ratio sees the norm of the whole map, also of the part that does not act
    options = dict(map_k=map_k, gain=gain, identity=start != 'alone')
    pairs = [pair(kind, side, start, seed + i, **options) for i, kind in enumerate(kinds)]
    targets = [torch.randn(ours.basis.shape, dtype=torch.float64) for _, ours in pairs]
    speeds = [1.0 if gain else gain_scale(ours.basis, ours.groups, map_k, 1.0) ** -2 for _, ours in pairs]
    rate = 2e-3 / max(speeds)
    sgd = dict(plain=dict(), nesterov=dict(momentum=0.9, nesterov=True), dampening=dict(momentum=0.8, dampening=0.3))
    first = [ours.weight.detach().clone() for _, ours in pairs]
    ends = []
    for which in (0, 1):
        layers = [both[which] for both in pairs]
        parameters = [layer.convmap if which == 0 else layer.trained for layer in layers]
        step = (
            lars(parameters, rate)
            if method == 'lars'
            else torch.optim.SGD(parameters, lr=rate, weight_decay=decay, **sgd[method]).step
        )
        clipped, limit = 0, None
        for _ in range(300):
            for parameter in parameters:
                parameter.grad = None
            made = [layer.kernel() if which == 0 else layer.weight for layer in layers]
            sum((kernel - target).pow(2).sum() for kernel, target in zip(made, targets, strict=True)).add(
                1
            ).log().backward()
            if clip:
                limit = limit or 0.5 * torch.stack([p.grad.norm() for p in parameters]).norm().item()
                clipped += nn.utils.clip_grad_norm_(parameters, limit).item() > limit
            step()
        assert clipped > 0 or not clip
        ends.append([layer.kernel().detach() if which == 0 else layer.weight.detach() for layer in layers])
    moved = max((end - start).abs().max().item() for end, start in zip(ends[1], first, strict=True))
    assert moved > 1e-6
    for released, ours in zip(*ends, strict=True):
        # Rounding of float64 (1e-16) over 300 steps of numbers around 1; small eigenvalues amplify it.
        torch.testing.assert_close(ours, released, rtol=0, atol=1e-11)


def nets() -> list[nn.Module]:
    """One net in both forms; depthwise, grouped and dense layers, a bias and a plain layer between."""
    torch.manual_seed(1)
    convs = [
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.Conv2d(6, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 2, 3),
    ]  # fmt: skip
    released = [ReleasedLayer(conv.double()) if conv.kernel_size != (1, 1) else conv.double() for conv in convs]
    options = RefConvOptions(gain=None, kinds='dense')
    ours = [
        RefConv2d.from_conv2d(conv, options) if conv.kernel_size != (1, 1) else copy.deepcopy(conv) for conv in convs
    ]
    return [nn.Sequential(a, nn.Tanh(), b, nn.Tanh(), c, d) for a, b, c, d in (released, ours)]


def train(model: nn.Module, make, wrap: dict, ema: bool = False, steps: int = 30) -> list[torch.Tensor]:
    """Kernels after training; with `ema` the averaged ones."""
    wrapper = OptimWrapper(make([p for p in model.parameters() if p.requires_grad]), **copy.deepcopy(wrap))
    averaged = ExponentialMovingAverage(model, momentum=0.1) if ema else None
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(2, 6, 5, 5, dtype=torch.float64, generator=generator)
        with wrapper.optim_context(model):
            loss = (model(x) - torch.sin(3 * x).sum(1, keepdim=True)[..., 1:4, 1:4]).square().mean()
        wrapper.update_params(loss)
        if averaged is not None:
            averaged.update_parameters(model)
    final = model if averaged is None else averaged.module
    return [
        m.kernel().detach() if isinstance(m, ReleasedLayer) else m.weight.detach()
        for m in final
        if hasattr(m, 'weight')
    ]


def sgd(**options):
    return lambda parameters: torch.optim.SGD(parameters, lr=0.02, **options)


EXACT = {
    'momentum': (sgd(momentum=0.9), {}),
    'nesterov and weight decay': (sgd(momentum=0.9, nesterov=True, weight_decay=0.1), {}),
    'accumulated': (sgd(momentum=0.9, weight_decay=0.1), dict(accumulative_counts=3)),
    'averaged SGD': (lambda parameters: torch.optim.ASGD(parameters, lr=0.05, t0=5), {}),
    'clipped by norm': (sgd(momentum=0.9), dict(clip_grad=dict(max_norm=0.05))),
}
OTHER = {
    'AdamW': (lambda parameters: torch.optim.AdamW(parameters, lr=0.01), {}),
    'clipped by value': (sgd(), dict(clip_grad=dict(type='value', clip_value=0.001))),
}


def difference(make, wrap, ema=False) -> tuple[float, float]:
    start = [layer.weight.detach().clone() for layer in nets()[1] if hasattr(layer, 'weight')]
    released, ours = (train(net, make, wrap, ema) for net in nets())
    apart = max((a - b).abs().max().item() for a, b in zip(released, ours, strict=True))
    return apart, max((a - b).abs().max().item() for a, b in zip(ours, start, strict=True))


@pytest.mark.parametrize('ema', [False, True])
@pytest.mark.parametrize('case', EXACT)
def test_a_net_trains_as_with_released_layers_under(case, ema):
    apart, moved = difference(*EXACT[case], ema)
    assert apart < 1e-12  # float64, thirty steps of numbers around 1
    assert moved > 1e-3


@pytest.mark.parametrize('case', OTHER)
def test_it_is_another_method_where_each_number_is_scaled_by_itself(case):
    apart, moved = difference(*OTHER[case])
    assert apart > 0.01 * moved
