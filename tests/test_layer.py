"""RefConv2d as a drop-in for nn.Conv2d, its state, and the traps of the libraries that concern the layer."""

import copy
import math
import os
import pickle
from pathlib import Path

import mmcv.cnn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.cnn import ConvModule, build_conv_layer
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import get_state_dict
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn
from torch.utils.checkpoint import checkpoint

from refconv_mm import RefConv2d
from refconv_mm import functional as RF
from refconv_mm.conv_types import RefConv2dAdaptivePadding
from refconv_mm.errors import LoadError
from refconv_mm.options import RefConvOptions
from refconv_mm.stored import TRAINED

from . import naive

FORMS = ('explicit', 'update')
GOLDEN = Path(os.environ.get('REFCONV_REFERENCE', '../shared/reference')) / 'refconv_golden.npz'


def trained(layer: RefConv2d, scale: float = 0.05) -> RefConv2d:
    """The layer with an update, or a map, that is not its start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        layer.trained.copy_(torch.randn(layer.trained.shape, generator=generator) * scale)
    return layer


def exact(expected, got, atol=1e-10):
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


# -- what it computes --------------------------------------------------------------------------------------


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(('channels', 'groups', 'kernel', 'map_k'), [
    ((6, 12), 6, 3, 3), ((4, 6), 1, 3, 3), ((8, 4), 2, 5, 3), ((6, 6), 6, (1, 5), 3), ((4, 4), 4, (5, 3), 5),
])  # fmt: skip
def test_it_computes_the_naive_transformation_by_hand(form, channels, groups, kernel, map_k):
    layer = RefConv2d(*channels, kernel, groups=groups, map_k=map_k, form='explicit', bias=False).double()
    trained(layer)
    expected = naive.refocus(layer.basis.numpy(), layer.trained.detach().numpy(), groups)
    other = RefConv2d(*channels, kernel, groups=groups, map_k=map_k, form=form, bias=False).double()
    other.load_state_dict(layer.state_dict())
    assert np.abs(expected - layer.basis.numpy()).max() > 1e-2  # it differs from the base
    exact(torch.from_numpy(expected), other.weight.detach(), 1e-11)
    x = torch.randn(2, channels[0], 9, 11, dtype=torch.float64)
    exact(nn.functional.conv2d(x, torch.from_numpy(expected), groups=groups), other(x).detach())


@pytest.mark.reference
@pytest.mark.skipif(not GOLDEN.is_file(), reason='the arrays of the released layer are not part of the project')
@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('case', range(10))
def test_it_matches_the_released_layer(case, form):
    with np.load(GOLDEN) as file:
        data = {k.split('/')[1]: torch.from_numpy(file[k]) for k in file if k.startswith(f'case{case}/')}
    in_channels, out_channels, kernel, stride, groups, map_k = data['args'].tolist()
    layer = RefConv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False, map_k=map_k, form=form
    ).double()
    released = {'weight': data['basis'], 'convmap.weight': data['refocus']}
    layer.load_state_dict(released)
    y = layer(data['x'])
    exact(data['y'], y.detach(), 1e-9)
    (y * data['w']).sum().backward()
    expected = data['grad_refocus']
    if form == 'update':  # its gradient is that of the map, taken through the basis once more
        expected = RF.explicit_update(layer.basis, expected, layer.geometry.groups).view_as(layer.basis)
    exact(expected, layer.trained.grad, 1e-9)
    optimizer = torch.optim.SGD(layer.parameters(), lr=2e-3, momentum=0.9, nesterov=True, weight_decay=1e-3)
    for _ in range(25):
        optimizer.zero_grad()
        (layer(data['x']) * data['w']).tanh().mean().backward()
        optimizer.step()
    exact(data['kernel_after_25_sgd'], layer.weight.detach(), 1e-9)


@settings(max_examples=50, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]), kernel=st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([2, 3, 5])),
    stride=st.integers(1, 2), dilation=st.integers(1, 3), padding=st.integers(0, 2),
    mode=st.sampled_from(['zeros', 'reflect', 'replicate', 'circular']), bias=st.booleans(),
    form=st.sampled_from(['explicit', 'update', 'auto']),
    start=st.sampled_from([('zero', True), ('kaiming', True), ('kaiming', False), ('dirac', False)]),
    gain=st.sampled_from([None, 1.0, 30]),
)  # fmt: skip
def test_to_conv2d_is_the_same_function(groups, kernel, stride, dilation, padding, mode, bias, form, start, gain):
    init, identity = start
    layer = RefConv2d(
        4, 8, kernel, stride, padding, dilation, groups, bias, mode,
        map_k=3 if max(kernel) >= 3 else 1, form=form, init=init, gain=gain, identity=identity,
    ).double()  # fmt: skip
    trained(layer)
    plain = layer.to_conv2d()
    assert type(plain) is nn.Conv2d
    assert set(plain.state_dict()) == ({'weight', 'bias'} if bias else {'weight'})
    assert not torch.allclose(plain.weight, layer.basis)
    x = torch.randn(1, 4, 15, 17, dtype=torch.float64)
    exact(layer(x), plain(x))


@pytest.mark.parametrize('form', ['explicit', 'update', 'auto'])
def test_the_zero_start_is_the_plain_layer(form):
    conv = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    layer = RefConv2d(6, 6, 3, padding=1, groups=6, form=form)
    layer.load_state_dict(conv.state_dict())
    x = torch.randn(2, 6, 8, 8)
    assert torch.equal(layer(x), conv(x))


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('gain', [None, 2.0])
def test_without_identity_the_dirac_start_is_the_plain_layer(form, gain):
    conv = nn.Conv2d(6, 6, 3, groups=6).double()
    layer = RefConv2d(6, 6, 3, groups=6, form=form, identity=False, init='dirac', gain=gain).double()
    layer.load_state_dict(conv.state_dict())
    exact(conv.weight.detach(), layer.weight.detach())


@pytest.mark.parametrize('form', FORMS)
def test_gain_scales_the_step_of_the_kernel(form):
    """One step of plain SGD moves the kernel by lr * gradient * Gram matrix; its mean diagonal is the gain."""
    layer = RefConv2d(16, 16, 3, groups=16, bias=False, form=form, gain=1.0).double()
    layer.restart()  # the metric in float64
    position = 4
    moves = []
    for channel in range(16):
        layer.restart()
        layer.trained.grad = None
        layer.weight[channel, 0].flatten()[position].backward()
        with torch.no_grad():
            layer.trained.sub_(layer.trained.grad)
        moves.append(-(layer.weight - layer.basis)[channel, 0].flatten()[position].item())
    gram = RF.gram_matrices(layer.basis, layer.geometry)[0]
    diagonals = RF.gain_factor(layer.basis, layer.geometry, 1.0) * gram.diagonal()
    assert diagonals.mean().item() == pytest.approx(1.0)
    assert moves == pytest.approx([diagonals[position].item()] * 16)


def test_random_starts_of_both_forms_have_one_distribution():
    stds = {}
    for form in FORMS:
        updates = []
        for _ in range(40):
            layer = RefConv2d(32, 32, 3, groups=32, bias=False, form=form, init='kaiming')
            updates.append(((layer.weight - layer.basis) / layer.basis.norm()).detach())
        stds[form] = torch.stack(updates).std().item()
    # 11,520 numbers each, correlated within a layer: some percent of scatter.
    assert stds['update'] == pytest.approx(stds['explicit'], rel=0.08)


# -- options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('options', 'error', 'match'), [
    (dict(map_k=2), ValueError, 'odd'),
    (dict(map_k=1.5), TypeError, 'map_k'),
    (dict(form='dense'), ValueError, 'form'),
    (dict(init='ones'), ValueError, 'init'),
    (dict(identity=False), ValueError, 'erase'),
    (dict(init='dirac'), ValueError, 'double'),
    (dict(gian=1.0), TypeError, "no option 'gian'; did you mean 'gain'"),
    (dict(wild=1.0), TypeError, 'the options are map_k, init'),
    (dict(gain=0), ValueError, 'gain'),
    (dict(gain=math.inf), ValueError, 'gain'),
    (dict(gain='big'), TypeError, 'gain'),
])  # fmt: skip
def test_bad_options_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        RefConv2d(8, 8, 3, groups=8, **options)


def test_kinds_that_are_not_asked_for_stay_ordinary():
    kinds = ['depthwise', 'grouped']
    layers = {name: RefConv2d(8, 8, 3, groups=groups, kinds=kinds) for name, groups in (('a', 8), ('b', 2), ('c', 1))}
    assert {name: layer.is_refocused for name, layer in layers.items()} == dict(a=True, b=True, c=False)
    assert layers['c'].weight.requires_grad
    assert layers['c'].options.kinds == ('depthwise', 'grouped')
    assert RefConv2d(8, 8, 3, kinds='dense').is_refocused
    with pytest.raises(ValueError, match=r"kinds must be of .* got \['wide'\]"):
        RefConv2d(8, 8, 3, kinds=['dense', 'wide'])


@pytest.mark.parametrize('form', ['explicit', 'update', 'auto'])
def test_pointwise_layers_stay_ordinary(form):
    layer = RefConv2d(8, 4, 1, form=form)
    assert set(layer.state_dict()) == {'weight', 'bias'}
    assert [n for n, p in layer.named_parameters() if p.requires_grad] == ['weight', 'bias']
    assert not layer.is_refocused
    with pytest.raises(ValueError, match='ordinary convolution'):
        _ = layer.basis
    x = torch.randn(1, 8, 3, 3)
    exact(layer(x).detach(), layer.to_conv2d()(x).detach())


def test_the_map_is_the_one_trainable_part_of_the_kernel():
    layer = RefConv2d(8, 8, 3, groups=8)
    assert {name for name, _ in layer.named_parameters()} == {'refocus', 'bias'}
    assert set(layer.state_dict()) == {'weight', 'refocus', 'bias'}
    assert torch.equal(layer.state_dict()['weight'], layer.basis)
    assert not layer.basis.requires_grad


def test_a_zero_start_leaves_the_random_numbers_of_the_rest_alone():
    torch.manual_seed(1)
    nn.Conv2d(8, 8, 3)
    expected = torch.rand(3)
    torch.manual_seed(1)
    RefConv2d(8, 8, 3)
    assert torch.equal(torch.rand(3), expected)


# -- state -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('load', [lambda m, s: m.load_state_dict(s), lambda m, s: mmengine_load(m, s, strict=True)])
def test_a_plain_checkpoint_fills_the_basis_unrenamed(load):
    plain = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    model = nn.Sequential(RefConv2d(4, 4, 3, groups=4), RefConv2d(4, 2, 1))
    assert model[0].basis_source == 'random'
    load(model, plain.state_dict())
    assert torch.equal(model[0].basis, plain[0].weight)
    assert model[0].basis_source == 'checkpoint'
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(model(x), plain(x))


def test_a_plain_checkpoint_puts_a_trained_map_back_to_its_start():
    layer = trained(RefConv2d(4, 4, 3, groups=4))
    layer.load_state_dict(nn.Conv2d(4, 4, 3, groups=4).state_dict())
    assert not layer.refocus.any()


def test_missing_keys_are_still_missed():
    layer = RefConv2d(4, 4, 3, groups=4)
    with pytest.raises(RuntimeError, match='refocus'):
        layer.load_state_dict({'bias': torch.zeros(4)})
    with pytest.raises(RuntimeError, match='size mismatch'):
        layer.load_state_dict({'weight': torch.zeros(4, 1, 5, 5), 'bias': torch.zeros(4)})
    assert layer.basis_source == 'random'


ANY = [dict(), dict(gain=5.0), dict(map_k=1), dict(init='kaiming')]
ANY += [dict(options, identity=False, init='dirac') for options in ANY[:3]]
LOADERS = [lambda m, s: m.load_state_dict(s), lambda m, s: mmengine_load(m, s, strict=True)]


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('groups', [1, 3, 6])
@pytest.mark.parametrize('source', [*ANY, *[dict(o, form='explicit') for o in ANY]], ids=str)
def test_a_stored_update_or_map_means_the_same_kernel_to_every_update_layer(source, groups, load):
    first = RefConv2d(6, 6, 3, groups=groups, **source).double()
    with torch.no_grad():
        first.trained.add_(0.1 * torch.randn_like(first.trained))
    for target in ANY:
        second = RefConv2d(6, 6, 3, groups=groups, **target).double()
        load(second, get_state_dict(first))
        exact(first.weight.detach(), second.weight.detach(), 1e-13)
        assert second.trained_source == 'checkpoint'


@pytest.mark.parametrize('name', ['refocus', 'convmap.weight'])
@pytest.mark.parametrize(('channels', 'groups'), [((6, 6), 6), ((4, 8), 1), ((1, 5), 1)])
def test_the_released_name_of_the_map_loads(name, channels, groups):
    """0.1 called the explicit map `refocus`; its shape differs, except with one input channel and one group."""
    first = trained(RefConv2d(*channels, 3, groups=groups, form='explicit').double())
    state = {'weight': first.basis, name: first.trained.detach(), 'bias': first.bias.detach()}
    if channels == (1, 5) and name == 'refocus':
        assert first.trained.shape == first.basis.shape
        return
    for form in FORMS:
        second = RefConv2d(*channels, 3, groups=groups, form=form).double()
        second.load_state_dict(state)
        exact(first.weight.detach(), second.weight.detach())


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize(('stored', 'match'), [
    (dict(), "form='update'"), (dict(identity=False, init='dirac'), "form='update' and identity=False"),
])  # fmt: skip
def test_no_explicit_map_follows_from_an_update(stored, match, load):
    state = get_state_dict(trained(RefConv2d(6, 6, 5, groups=6, **stored)))
    with pytest.raises(LoadError, match=match):
        load(RefConv2d(6, 6, 5, groups=6, form='explicit'), state)


@pytest.mark.parametrize(('change', 'match'), [
    (lambda state: state.pop('weight'), 'without the basis'),
    (lambda state: state.update(refocus_map=torch.zeros(4, 4, 3, 3)), 'belongs to another layer'),
    (lambda state: state.update(refocus=torch.zeros(6, 9)), 'compact form'),
])  # fmt: skip
def test_what_is_not_of_this_layer_is_refused(change, match):
    state = trained(RefConv2d(6, 6, 3, groups=6, form='explicit')).state_dict()
    change(state)
    if 'refocus' in state:
        del state['refocus_map']
    with pytest.raises(LoadError, match=match):
        RefConv2d(6, 6, 3, groups=6).load_state_dict(state)


def test_an_update_for_a_pointwise_layer_is_refused():
    with pytest.raises(LoadError, match='ordinary'):
        RefConv2d(4, 4, 1, bias=False).load_state_dict({'weight': torch.zeros(4, 4, 1, 1), 'refocus': torch.zeros(1)})


def test_nothing_but_keys_travels_with_a_state_dict():
    """A state dict that was rebuilt key by key keeps its meaning."""
    assert len(set(TRAINED.values())) == len(TRAINED)
    first = trained(RefConv2d(6, 6, 3, groups=6, gain=3.0))
    second = RefConv2d(6, 6, 3, groups=6)
    second.load_state_dict(dict(first.state_dict()))
    assert torch.equal(first.weight, second.weight)


# -- traps -------------------------------------------------------------------------------------------------


def conv_bn(form: str = 'auto') -> nn.Sequential:
    model = nn.Sequential(trained(RefConv2d(6, 6, 3, groups=6, bias=False, form=form)), nn.BatchNorm2d(6)).double()
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize('form', FORMS)
def test_mmcv_fuse_conv_bn_takes_the_effective_kernel(form):
    model = conv_bn(form)
    x = torch.randn(2, 6, 7, 7, dtype=torch.float64)
    expected = model(x).detach()
    folded = mmcv.cnn.fuse_conv_bn(copy.deepcopy(model))
    exact(expected, folded(x).detach())
    assert not folded[0].is_refocused
    assert set(folded[0].state_dict()) == {'weight', 'bias'}
    exact(expected, folded[0].to_conv2d()(x).detach())


def test_efficient_conv_bn_eval_takes_the_effective_kernel():
    options = dict(groups=6, conv_cfg=dict(type='RefConv'), norm_cfg=dict(type='BN'))
    module = ConvModule(6, 6, 3, **options).double().eval()
    trained(module.conv)
    module.bn.running_mean.uniform_(-1, 1)
    on_the_fly = ConvModule(6, 6, 3, efficient_conv_bn_eval=True, **options).double().eval()
    on_the_fly.load_state_dict(module.state_dict())
    x = torch.randn(2, 6, 7, 7, dtype=torch.float64)
    exact(module(x).detach(), on_the_fly(x).detach())


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet', 'mmseg', 'mmpretrain'])
def test_conv_cfg_builds_it_from_every_scope(scope):
    __import__(scope)
    with DefaultScope.overwrite_default_scope(scope):
        layer = build_conv_layer(dict(type='RefConv', map_k=3, gain=1.0), 4, 4, 3, padding=1, groups=4, bias=False)
        module = ConvModule(4, 4, 3, conv_cfg=dict(type='RefConv'))
    assert isinstance(layer, RefConv2d)
    assert layer.options == RefConvOptions(gain=1.0)
    assert isinstance(module.conv, RefConv2d)


@pytest.mark.parametrize('kind', ['TruncNormal', 'Kaiming', 'Normal', 'Constant'])
def test_init_cfg_for_conv2d_touches_neither_basis_nor_start(kind):
    """It matches a class and its bases' names, and would reinitialise a nested convolution."""
    from mmengine.model import BaseModule

    init = dict(type=kind, layer='Conv2d', **(dict(val=7.0) if kind == 'Constant' else {}))

    class Net(BaseModule):
        def __init__(self):
            super().__init__(init_cfg=init)
            self.conv = RefConv2d(4, 4, 3, groups=4)
            self.point = RefConv2d(4, 4, 1)

    net = Net()
    basis, point = net.conv.basis.clone(), net.point.weight.clone()
    net.init_weights()
    assert torch.equal(net.conv.basis, basis)
    assert not net.conv.refocus.any()
    assert not torch.equal(net.point.weight, point)  # an ordinary layer is initialised as usual


def test_conv_module_init_touches_neither_basis_nor_start():
    module = ConvModule(4, 4, 3, groups=4, conv_cfg=dict(type='RefConv'), norm_cfg=dict(type='BN'))
    basis = module.conv.basis.clone()
    module.init_weights()
    assert torch.equal(module.conv.basis, basis)
    assert not module.conv.refocus.any()


@pytest.mark.parametrize('groups', [1, 6])
def test_dwconv_decay_mult_reaches_depthwise_maps_only(groups):
    layer = nn.Sequential(RefConv2d(6, 6, 3, groups=groups, bias=False, form='explicit'))
    wrapper = build_optim_wrapper(
        layer,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=0.1, weight_decay=1.0),
            paramwise_cfg=dict(dwconv_decay_mult=0.25),
        ),
    )
    assert [g['weight_decay'] for g in wrapper.param_groups] == [0.25 if groups == 6 else 1.0]


def test_a_basis_written_by_hand_counts_after_a_refresh():
    layer = trained(RefConv2d(6, 6, 3, groups=6, bias=False, gain=1.0).double())
    layer.basis.mul_(2)
    assert not torch.equal(layer.metric, RefConv2d.from_conv2d(layer.to_conv2d(), layer.options).metric)
    layer.refresh()
    fresh = RefConv2d(6, 6, 3, groups=6, bias=False, gain=1.0).double()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh.weight, layer.weight)
    assert torch.equal(fresh.metric, layer.metric)


@pytest.mark.parametrize('form', FORMS)
def test_a_layer_built_and_run_under_inference_mode_can_train(form):
    layer = trained(RefConv2d(6, 6, 3, groups=6, form=form))
    with torch.inference_mode():
        layer(torch.randn(1, 6, 5, 5))
    layer(torch.randn(1, 6, 5, 5)).sum().backward()
    assert layer.trained.grad.abs().sum() > 0


@pytest.mark.parametrize('copier', [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_independent(copier):
    layer = trained(RefConv2d(6, 6, 3, groups=6, gain=2.0).double())
    before, metric = layer.weight.detach().clone(), layer.metric.clone()
    twin = copier(layer)
    assert torch.equal(twin.metric, metric)
    with torch.no_grad():
        twin.trained.mul_(2)
    twin.load_state_dict({'weight': torch.randn_like(twin.basis), 'bias': twin.bias})
    assert torch.equal(layer.weight, before)
    assert torch.equal(layer.metric, metric)
    assert not torch.equal(twin.metric, metric)


@pytest.mark.parametrize('options', [dict(), dict(gain=1.0), dict(init='kaiming'), dict(init='dirac', identity=False)])
def test_a_layer_on_meta_is_filled_by_assignment(options):
    layer = RefConv2d(6, 6, 3, groups=6, device='meta', **options)
    layer.load_state_dict(nn.Conv2d(6, 6, 3, groups=6).state_dict(), assign=True)
    assert layer.basis_source == 'checkpoint'
    assert layer.trained.device.type == layer.metric.device.type == 'cpu'
    torch.testing.assert_close(layer.weight.double(), layer.exact_kernel(), rtol=1e-5, atol=1e-5)
    layer(torch.randn(1, 6, 5, 5)).sum().backward()


def test_assigned_parameters_do_not_make_it_ordinary():
    layer = RefConv2d(6, 6, 3, groups=6)
    layer.load_state_dict(nn.Conv2d(6, 6, 3, groups=6).state_dict(keep_vars=True), assign=True)
    assert layer.is_refocused
    assert not layer.basis.requires_grad


def test_sync_bn_conversion_keeps_the_layer():
    model = nn.Sequential(trained(RefConv2d(6, 6, 3, groups=6)), nn.BatchNorm2d(6)).eval()
    x = torch.randn(1, 6, 5, 5)
    expected = model(x)
    model = convert_sync_batchnorm(model)
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert torch.equal(revert_sync_batchnorm(model).eval()(x), expected)


def test_activation_checkpointing_gives_the_same_gradients():
    layer = trained(RefConv2d(6, 6, 3, groups=6).double())
    x = torch.randn(1, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x).sin().sum(), layer.refocus)
    (got,) = torch.autograd.grad(checkpoint(layer, x, use_reentrant=False).sin().sum(), layer.refocus)
    exact(expected, got)


@pytest.mark.parametrize('form', FORMS)
def test_autocast_rounds_the_kernel_once_like_a_plain_layer(form):
    layer = trained(RefConv2d(16, 16, 3, groups=16, form=form), 0.01)
    plain = layer.to_conv2d()
    x = torch.randn(1, 16, 6, 6)
    with torch.autocast('cpu', torch.bfloat16):
        y, expected = layer(x), plain(x)
        assert layer.weight.dtype == torch.float32
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=2**-7, atol=2**-7)  # bfloat16 has 8 bits
    y.float().sum().backward()
    assert layer.trained.grad.dtype == torch.float32


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_to_conv2d_keeps_dtype_and_composes_in_float64(dtype):
    layer = trained(RefConv2d(6, 6, 3, groups=6, gain=1.0)).to(dtype)
    plain = layer.to_conv2d()
    assert plain.weight.dtype == dtype
    assert torch.equal(plain.weight, layer.exact_kernel().to(dtype))


def test_the_metric_moves_and_is_cast_with_the_layer():
    layer = RefConv2d(6, 6, 3, groups=6, dtype=torch.float64)
    layer.to(torch.bfloat16)
    assert layer.metric.dtype == torch.bfloat16
    layer(torch.randn(1, 6, 5, 5, dtype=torch.bfloat16)).sum().backward()
    assert layer.refocus.grad.any()
    assert layer.to('meta').metric.is_meta
    assert 'metric' not in layer.state_dict()


def test_state_loaded_by_assignment_is_used():
    first = trained(RefConv2d(6, 6, 3, groups=6))
    second = RefConv2d(6, 6, 3, groups=6)
    _ = second.weight
    second.load_state_dict(first.state_dict(), assign=True)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.metric, second.metric)


def test_channels_last_agrees():
    layer = trained(RefConv2d(8, 8, 3, padding=1, groups=8))
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), layer(x), rtol=1e-5, atol=1e-5)


def test_fx_keeps_it_as_one_node():
    model = nn.Sequential(trained(RefConv2d(6, 6, 3, groups=6)), nn.ReLU())
    traced = torch.fx.symbolic_trace(model)
    assert [node.op for node in traced.graph.nodes] == ['placeholder', 'call_module', 'call_module', 'output']
    x = torch.randn(1, 6, 5, 5)
    assert torch.equal(traced(x), model(x))
    traced(x).sum().backward()
    assert model[0].refocus.grad.any()


def test_it_is_registered_in_the_root():
    assert MODELS.get('RefConv') is RefConv2d


@pytest.mark.parametrize(('kernel', 'stride', 'dilation', 'groups', 'size'), [
    (3, 2, 1, 4, (7, 8)), (5, (2, 1), 1, 4, (8, 6)), ((1, 3), 1, 2, 1, (5, 9)), (3, 3, 2, 1, (11, 10)),
    (1, 2, 1, 1, (5, 4)),
])  # fmt: skip
def test_adaptive_padding_is_upstream_s(kernel, stride, dilation, groups, size):
    """EfficientNet's convolution: its outputs, its fused class, and the ignored padding."""
    conv = Conv2dAdaptivePadding(4, 8, kernel, stride, 1, dilation, groups).double()
    layer = RefConv2dAdaptivePadding(4, 8, kernel, stride, 1, dilation, groups).double()
    layer.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=1e-14)
    if layer.is_refocused:
        torch.nn.init.normal_(layer.refocus)
        assert not torch.allclose(layer(x), conv(x))
    plain = layer.to_conv2d()
    assert type(plain) is Conv2dAdaptivePadding
    torch.testing.assert_close(plain(x), layer(x), rtol=0, atol=1e-12)
