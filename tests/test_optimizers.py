"""Under which optimizers the compact form is the explicit form's training: compared in float64, step by step."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from torch import nn

from refconv_mm import refocus
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
    ).double()
    explicit = copy.deepcopy(plain)
    refocus(explicit, form='explicit', init=init, gain=1.0)
    compact = copy.deepcopy(plain)
    refocus(compact, form='compact', gain=1.0)
    compact.load_state_dict(explicit.state_dict())  # the same maps, converted
    return [explicit, compact]


def train(model: nn.Module, make, wrap: dict, ema: bool) -> list[torch.Tensor]:
    """Kernels after training on one and the same data; averaged ones if asked for."""
    wrapper = OptimWrapper(make(model.parameters()), **copy.deepcopy(wrap))  # it pops from the dicts
    averaged = ExponentialMovingAverage(model, momentum=0.1) if ema else None
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(2, 6, 5, 5, dtype=torch.float64, generator=generator)
        with wrapper.optim_context(model):
            loss = (model(x) - torch.sin(3 * x).sum(1, keepdim=True)).square().mean()
        wrapper.update_params(loss)
        if averaged is not None:
            averaged.update_parameters(model)
    final = model if averaged is None else averaged.module
    return [layer.exact_kernel() for _, layer in named_refconvs(final)]


def difference(make, wrap: dict, init: str = 'zero', ema: bool = False) -> tuple[float, float]:
    """Largest difference of the kernels between the two forms, and how far they moved."""
    models = pair(init)
    start = [layer.exact_kernel() for _, layer in named_refconvs(models[0])]
    explicit, compact = (train(model, make, wrap, ema) for model in models)
    apart = max((a - b).abs().max().item() for a, b in zip(explicit, compact, strict=True))
    return apart, max((a - b).abs().max().item() for a, b in zip(explicit, start, strict=True))


def sgd(**options):
    return lambda parameters: torch.optim.SGD(parameters, lr=0.05, **options)


EXACT = {
    'plain': (sgd(), {}),
    'momentum': (sgd(momentum=0.9), {}),
    'nesterov and weight decay': (sgd(momentum=0.9, nesterov=True, weight_decay=0.1), {}),
    'dampening': (sgd(momentum=0.9, dampening=0.3), {}),
    'clipped by norm': (sgd(momentum=0.9), dict(clip_grad=dict(max_norm=0.05))),
    'accumulated': (sgd(momentum=0.9, weight_decay=0.1), dict(accumulative_counts=3)),
    'averaged': (lambda parameters: torch.optim.ASGD(parameters, lr=0.05, t0=5), {}),
}
OTHER = {
    'Adam': (lambda parameters: torch.optim.Adam(parameters, lr=0.01), {}),
    'AdamW': (lambda parameters: torch.optim.AdamW(parameters, lr=0.01), {}),
    'RMSprop': (lambda parameters: torch.optim.RMSprop(parameters, lr=0.01), {}),
    'SGD, clipped by value': (sgd(), dict(clip_grad=dict(type='value', clip_value=0.001))),
}


@pytest.mark.parametrize('init', ['zero', 'kaiming'])
@pytest.mark.parametrize('case', EXACT)
def test_the_compact_form_is_the_explicit_one_under(case, init):
    apart, moved = difference(*EXACT[case], init)
    assert apart < 1e-12  # float64, thirty steps of numbers around 1
    assert moved > 1e-3


def test_the_compact_form_is_the_explicit_one_under_averaged_weights():
    apart, moved = difference(*EXACT['momentum'], ema=True)
    assert apart < 1e-12
    assert moved > 1e-3


@pytest.mark.parametrize('case', OTHER)
def test_the_compact_form_is_another_method_under(case):
    apart, moved = difference(*OTHER[case])
    assert apart > 0.01 * moved


@pytest.mark.parametrize(('case', 'said'), [
    *[(case, 'the same training') for case in EXACT],
    ('Adam', 'Adam scales each element'), ('SGD, clipped by value', 'clipped by value'),
])  # fmt: skip
def test_the_table_says_which_case_it_is(case, said):
    explicit, compact = pair()
    make, wrap = {**EXACT, **OTHER}[case]
    wrapper = OptimWrapper(make(compact.parameters()), **copy.deepcopy(wrap))
    assert said in what_optimizer_means(wrapper, named_refconvs(compact))
    assert 'all maps are explicit' in what_optimizer_means(wrapper, named_refconvs(explicit))
