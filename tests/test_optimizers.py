"""The optimizers under which the update form equals the released layer's training, compared in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from torch import nn

from refconv_mm import RefConv2d, refocus
from refconv_mm import functional as RF
from refconv_mm.hooks.refconv_hook import what_optimizer_means
from refconv_mm.surgery import named_refconvs

STEPS = 30


def pair(init: str = 'zero') -> list[nn.Module]:
    """One net in both forms, from one start; depthwise, grouped, a bias and a plain layer between."""
    plain = nn.Sequential(
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        nn.Tanh(),
        nn.Conv2d(6, 8, 1),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 2, 3),
    ).double()
    explicit, update = copy.deepcopy(plain), copy.deepcopy(plain)
    refocus(explicit, form='explicit', init=init, gain=1.0)
    refocus(update, gain=1.0)
    update.load_state_dict(explicit.state_dict())  # the same kernels
    return [explicit, update]


def train(model: nn.Module, make, wrap: dict, ema: bool) -> list[torch.Tensor]:
    """Kernels after training on the same data; with `ema` the averaged ones."""
    wrapper = OptimWrapper(make(model.parameters()), **copy.deepcopy(wrap))  # it pops from the dicts
    averaged = ExponentialMovingAverage(model, momentum=0.1) if ema else None
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(2, 6, 5, 5, dtype=torch.float64, generator=generator)
        with wrapper.optim_context(model):
            loss = (model(x) - torch.sin(3 * x).sum(1, keepdim=True)[..., 1:4, 1:4]).square().mean()
        wrapper.update_params(loss)
        if averaged is not None:
            averaged.update_parameters(model)
    final = model if averaged is None else averaged.module
    return [layer.exact_kernel() for _, layer in named_refconvs(final)]


def difference(make, wrap: dict, init: str = 'zero', ema: bool = False) -> tuple[float, float]:
    """Largest difference of the kernels between the two forms, and how far they moved."""
    models = pair(init)
    start = [layer.exact_kernel() for _, layer in named_refconvs(models[0])]
    explicit, update = (train(model, make, wrap, ema) for model in models)
    apart = max((a - b).abs().max().item() for a, b in zip(explicit, update, strict=True))
    return apart, max((a - b).abs().max().item() for a, b in zip(explicit, start, strict=True))


def sgd(**options):
    return lambda parameters: torch.optim.SGD(parameters, lr=0.02, **options)


EXACT = {
    'plain': (sgd(), {}),
    'momentum': (sgd(momentum=0.9), {}),
    'nesterov and weight decay': (sgd(momentum=0.9, nesterov=True, weight_decay=0.1), {}),
    'dampening': (sgd(momentum=0.9, dampening=0.3), {}),
    'accumulated': (sgd(momentum=0.9, weight_decay=0.1), dict(accumulative_counts=3)),
    'averaged': (lambda parameters: torch.optim.ASGD(parameters, lr=0.05, t0=5), {}),
}
OTHER = {
    'Adam': (lambda parameters: torch.optim.Adam(parameters, lr=0.01), {}),
    'AdamW': (lambda parameters: torch.optim.AdamW(parameters, lr=0.01), {}),
    'RMSprop': (lambda parameters: torch.optim.RMSprop(parameters, lr=0.01), {}),
    'SGD, clipped by norm': (sgd(momentum=0.9), dict(clip_grad=dict(max_norm=0.05))),
    'SGD, clipped by value': (sgd(), dict(clip_grad=dict(type='value', clip_value=0.001))),
}


@pytest.mark.parametrize('init', ['zero', 'kaiming'])
@pytest.mark.parametrize('case', EXACT)
def test_the_update_form_is_the_explicit_one_under(case, init):
    apart, moved = difference(*EXACT[case], init)
    assert apart < 1e-12  # float64, thirty steps of numbers around 1
    assert moved > 1e-3


def test_the_update_form_is_the_explicit_one_under_averaged_weights():
    apart, moved = difference(*EXACT['momentum'], ema=True)
    assert apart < 1e-12
    assert moved > 1e-3


@pytest.mark.parametrize('case', OTHER)
def test_the_update_form_is_another_method_under(case):
    apart, moved = difference(*OTHER[case])
    assert apart > 0.01 * moved


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from([(8, 8, 1), (16, 16, 16), (12, 24, 12), (12, 8, 4), (3, 8, 1)]),
    side=st.sampled_from([(3, 3), (5, 3), (7, 7)]), map_k=st.sampled_from([1, 3]),
    gain=st.sampled_from([None, 1.0]),
    start=st.sampled_from([('zero', True), ('kaiming', True), ('dirac', False)]),
    sgd=st.sampled_from([dict(), dict(momentum=0.9, nesterov=True), dict(momentum=0.8, dampening=0.3)]),
    decay=st.sampled_from([0.0, 1e-2]),
)  # fmt: skip
def test_300_steps_of_sgd_are_the_released_layer_s(kind, side, map_k, gain, start, sgd, decay):
    """With a curved loss."""
    channels, (init, identity) = kind, start
    options = dict(map_k=map_k, init=init, identity=identity, gain=gain)
    explicit = RefConv2d(*channels[:2], side, groups=channels[2], bias=False, form='explicit', **options).double()
    explicit.restart()
    update = RefConv2d(*channels[:2], side, groups=channels[2], bias=False, **options).double()
    update.load_state_dict({'weight': explicit.basis})
    with torch.no_grad():
        update.trained.copy_(explicit.weight - explicit.basis if identity else explicit.weight)  # one start, drawn once
    target = torch.randn(explicit.basis.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    first = explicit.weight.detach()
    step = 2e-3 / (RF.mean_diagonal(explicit.basis, explicit.geometry) if gain is None else gain)
    for layer in (explicit, update):
        optimizer = torch.optim.SGD([layer.trained], lr=step, weight_decay=decay, **sgd)
        for _ in range(300):
            optimizer.zero_grad()
            (layer.weight - target).pow(2).sum().add(1).log().backward()
            optimizer.step()
    moved = (explicit.weight - first).abs().max().item()
    assert moved > 1e-5
    # Rounding of float64 (1e-16) over 300 steps of numbers around 1.
    torch.testing.assert_close(update.weight, explicit.weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize(('case', 'said'), [
    *[(case, "is the released layer's training") for case in EXACT], ('Adam', 'Adam scales each element'),
    ('SGD, clipped by norm', 'clipped gradients'), ('SGD, clipped by value', 'clipped gradients'),
])  # fmt: skip
def test_the_table_says_which_case_it_is(case, said):
    explicit, update = pair()
    make, wrap = {**EXACT, **OTHER}[case]
    wrapper = OptimWrapper(make(update.parameters()), **copy.deepcopy(wrap))
    assert said in what_optimizer_means(wrapper, named_refconvs(update))
    assert 'explicit maps' in what_optimizer_means(wrapper, named_refconvs(explicit))
