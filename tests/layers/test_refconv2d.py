"""RefConv2d as a drop-in for nn.Conv2d, its state, and the traps of the libraries that concern the layer."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from torch import nn

from refconv_mm import RefConv2d, RefConvOptions, refocus
from refconv_mm.layers import transformation as RF

GOLDEN = Path(os.environ.get('REFCONV_REFERENCE', '../shared/reference')) / 'refconv_golden.npz'
GROUPS = [1, 2, 6]  # dense (the map trains), grouped and depthwise
ALL = ('depthwise', 'grouped', 'dense')


def made(groups: int = 6, scale: float = 0.1, dtype=torch.float32, **options) -> RefConv2d:
    """A layer 6 -> 6 made from a convolution, with an update."""
    layer = RefConv2d.from_conv2d(nn.Conv2d(6, 6, 3, padding=1, groups=groups, dtype=dtype), RefConvOptions(**options))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        layer.trained.add_(torch.randn(layer.trained.shape, generator=generator) * scale)
    return layer


def exact(expected, got, atol=1e-10):
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


# -- what it computes --------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.skipif(not GOLDEN.is_file(), reason='the arrays of the released layer are not part of the project')
@pytest.mark.parametrize('case', range(10))
def test_it_matches_the_released_layer(case):
    with np.load(GOLDEN) as file:
        data = {k.split('/')[1]: torch.from_numpy(file[k]) for k in file if k.startswith(f'case{case}/')}
    in_channels, out_channels, kernel, stride, groups, map_k = data['args'].tolist()
    layer = RefConv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False, map_k=map_k, gain=None
    ).double()
    layer.load_state_dict({'weight': data['basis'], 'convmap.weight': data['refocus']})
    y = layer(data['x'])
    exact(data['y'], y.detach(), 1e-12)
    (y * data['w']).sum().backward()
    # The gradient of the map in our coordinates; beside a map with s = 1 it is that gradient.
    unfolded = nn.functional.unfold(
        data['basis'].reshape(-1, groups, kernel, kernel), map_k, padding=map_k // 2
    )  # U of each group
    expected = data['grad_refocus']
    if layer.root.ndim:
        inverse = RF.make_roots(data['basis'], groups, map_k, None)[1]
        expected = (expected.reshape(len(unfolded), groups, -1) @ unfolded @ inverse).view(layer.trained.shape)
        assert layer.trained.grad.norm().item() == pytest.approx(data['grad_refocus'].norm().item(), rel=1e-10)
    exact(expected, layer.trained.grad, 1e-10)
    optimizer = torch.optim.SGD(layer.parameters(), lr=2e-3, momentum=0.9, nesterov=True, weight_decay=1e-3)
    for _ in range(25):
        optimizer.zero_grad()
        (layer(data['x']) * data['w']).tanh().mean().backward()
        optimizer.step()
    exact(data['kernel_after_25_sgd'], layer.weight.detach(), 1e-12)


# -- options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('options', 'error', 'match'), [
    (dict(map_k=2), ValueError, 'odd'),
    (dict(map_k=1.5), ValueError, 'map_k'),
    (dict(map_k=True), ValueError, 'map_k'),
    (dict(init='ones'), ValueError, r"got \('ones', True\)"),
    (dict(identity=False), ValueError, r"must be a pair of .*got \('zero', False\)"),
    (dict(init='dirac'), ValueError, r"got \('dirac', True\)"),
    (dict(gian=1.0), TypeError, "no option 'gian'; the options are map_k, gain, kinds"),
    (dict(form='update'), TypeError, r"no option 'form'; the options are .* \(since 0\.3\)"),
    (dict(gain=0), ValueError, 'gain'),
    (dict(gain=math.inf), ValueError, 'gain'),
    (dict(gain='big'), ValueError, 'gain'),
    (dict(kinds=['dense', 'wide']), ValueError, r"kinds must be one or several of .* got \['dense', 'wide'\]"),
    (dict(kinds=2), ValueError, 'kinds'),
])  # fmt: skip
def test_bad_options_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        RefConv2d(8, 8, 3, groups=8, **options)


@pytest.mark.parametrize('arguments', [
    dict(kernel_size=1, map_k=1), dict(kernel_size=2), dict(dtype=torch.complex64), dict(in_channels=0),
])  # fmt: skip
def test_what_has_no_room_for_a_map_is_refused(arguments):
    arguments = dict(in_channels=8, out_channels=8, kernel_size=3) | arguments
    options = RefConvOptions(map_k=arguments.pop('map_k', 3))
    for make in (lambda: RefConv2d(**arguments, map_k=options.map_k),
                 lambda: RefConv2d.from_conv2d(nn.Conv2d(**arguments), options)):  # fmt: skip
        with pytest.raises(ValueError, match='takes real kernels of at least 2x1 and map_k'):
            make()
    with pytest.raises(TypeError, match='RefConv2d is for Conv2d layers, got ConvTranspose2d'):
        RefConv2d.from_conv2d(nn.ConvTranspose2d(4, 4, 3))


def test_the_trained_parameter_is_the_one_trainable_part_of_the_kernel():
    layer = made()
    assert layer.options == RefConvOptions(3, 1.0, ('depthwise', 'grouped'), 'zero', True)
    assert [name for name, _ in layer.named_parameters()] == ['refocus', 'bias']
    assert [name for name, _ in made(1).named_parameters()] == ['refocus_map', 'bias']
    assert set(layer.state_dict()) == {'weight', 'refocus', 'root', 'bias'}
    assert torch.equal(layer.state_dict()['weight'], layer.basis)
    assert not layer.basis.requires_grad


# -- until it is filled ------------------------------------------------------------------------------------


@pytest.mark.parametrize('groups', GROUPS)
@pytest.mark.parametrize('write', [
    lambda layer, kernel: setattr(layer.weight, 'data', kernel),
    lambda layer, kernel: layer.weight.data.copy_(kernel),
    lambda layer, kernel: nn.init._no_grad_fill_(layer.weight, 0).add_(kernel),
])  # fmt: skip
def test_writes_into_the_kernel_of_an_unfilled_layer_arrive(write, groups):
    """As of code that builds a layer and writes a kernel into it (mmpretrain's `switch_to_deploy`)."""
    layer, plain = RefConv2d(6, 6, 3, groups=groups, init='kaiming'), nn.Conv2d(6, 6, 3, groups=groups)
    layer.bias.data = plain.bias.data
    write(layer, plain.weight.detach().clone())
    x = torch.randn(1, 6, 5, 5)
    assert torch.equal(layer.eval()(x), plain(x))
    assert layer.source is None
    other = RefConv2d(6, 6, 3, groups=groups)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, plain.weight)
    assert other.source == 'plain checkpoint'
    assert other.root.any()  # made from the basis that arrived
    layer.train()(x).sum().backward()
    assert layer.source == 'random'
    assert layer.trained.grad.any()
    assert not torch.equal(layer.weight, plain.weight)  # the random start


def test_values_that_ddp_or_an_average_copies_fill_it():
    layer, copied = made(), RefConv2d(6, 6, 3, padding=1, groups=6)
    for mine, theirs in zip(
        [*copied.parameters(), *copied.buffers()], [*layer.parameters(), *layer.buffers()], strict=True
    ):
        mine.data.copy_(theirs)
    x = torch.randn(1, 6, 5, 5)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.TorchDynamoException, match='origin of the kernel is not known'):
        torch.compile(copied, backend='eager', fullgraph=True)(x)
    assert torch.equal(copied.weight, layer.weight)
    assert torch.equal(copied(x), layer(x))
    assert copied.source == 'copied'


def test_writes_into_the_kernel_of_a_filled_layer_are_lost_and_those_into_the_basis_count():
    """As the docstring says: the composed kernel is a new tensor with each reading, which nothing can watch."""
    layer = made(scale=0)
    before = layer.weight.detach().clone()
    nn.init.zeros_(layer.weight)
    layer.weight.data.zero_()
    assert torch.equal(layer.weight, before)
    nn.init.ones_(layer.basis)
    layer.restart()
    assert torch.equal(layer.weight, torch.ones_like(before))
    exact(torch.tensor(1.0), layer.root.square().sum() / 9, 1e-5)


@pytest.mark.parametrize('parameter', [False, True])
def test_assigning_a_kernel_makes_an_ordinary_convolution(parameter):
    layer, kernel = made(), torch.randn(6, 1, 3, 3)
    bias = layer.bias
    with pytest.raises(ValueError, match=r'be of torch.Size\(\[6, 1, 3, 3\]\), got torch.Size\(\[6, 6, 3, 3\]\)'):
        layer.weight = torch.zeros(6, 6, 3, 3)
    with pytest.raises(ValueError, match='got None'):
        layer.weight = None
    assert isinstance(layer, RefConv2d)
    layer.weight = nn.Parameter(kernel) if parameter else kernel
    assert type(layer) is nn.Conv2d
    assert list(layer.state_dict()) == ['weight', 'bias']
    assert layer.bias is bias
    assert layer.weight.requires_grad
    assert vars(layer).keys() == vars(nn.Conv2d(6, 6, 3)).keys()
    assert torch.equal(layer.weight, kernel)


def test_a_missing_part_is_an_error_and_not_the_basis():
    """nn.Module answers an AttributeError in a property with the buffer of its name."""
    for name in ('root', 'refocus'):
        layer = made()
        delattr(layer, name)
        with pytest.raises((RuntimeError, KeyError), match=name):
            layer(torch.randn(1, 6, 5, 5))


# -- other libraries --------------------------------------------------------------------------------------


def test_sync_bn_conversion_keeps_the_layer():
    model, x = nn.Sequential(made(), nn.BatchNorm2d(6)).eval(), torch.randn(1, 6, 5, 5)
    expected = model(x)
    model = convert_sync_batchnorm(model)
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert torch.equal(revert_sync_batchnorm(model).eval()(x), expected)


@pytest.mark.parametrize('groups', [1, 6])
def test_dwconv_decay_mult_reaches_depthwise_layers_only(groups):
    paramwise = dict(dwconv_decay_mult=0.25)
    optimizer = dict(type='SGD', lr=0.1, weight_decay=1.0)
    layer = made(groups)
    layer.bias = None
    wrapper = build_optim_wrapper(
        nn.Sequential(layer), dict(type='OptimWrapper', optimizer=optimizer, paramwise_cfg=paramwise)
    )
    assert [g['weight_decay'] for g in wrapper.param_groups] == [0.25 if groups == 6 else 1.0]


def test_an_optimizer_that_was_built_before_does_not_step_the_basis():
    model = nn.Sequential(nn.Conv2d(6, 6, 3, groups=6))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    refocus(model)
    basis = model[0].basis.clone()
    for group in optimizer.param_groups:
        for parameter in group['params']:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert torch.equal(model[0].basis, basis)


@pytest.mark.parametrize('groups', GROUPS)
def test_data_parallel_replicas_compute_with_their_copies(groups):
    layer, x = made(groups), torch.randn(1, 6, 5, 5)
    replica = layer._replicate_for_data_parallel()
    for name, value in [*layer.named_parameters(), *layer.named_buffers()]:  # as torch.nn.parallel.replicate does
        setattr(replica, name, value * 1)
    assert torch.equal(replica(x), layer(x))


@pytest.mark.parametrize('groups', GROUPS)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_a_gradient_has_the_strides_of_its_parameter(groups, layout):
    """DDP warns of others, and copies them into its buckets one by one."""
    layer = made(groups).to(memory_format=layout)
    layer(torch.randn(2, 6, 5, 5).to(memory_format=layout)).sum().backward()
    assert layer.trained.grad.stride() == layer.trained.stride()
