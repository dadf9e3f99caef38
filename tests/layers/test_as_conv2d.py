"""RefConv2d does what `nn.Conv2d` does with the same kernel: over drawn options, shapes, dtypes, layouts, devices."""

import copy
import pickle
from contextlib import contextmanager

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, vmap
from torch.utils.checkpoint import checkpoint

from refconv_mm import RefConv2d, refocus
from refconv_mm.layers.options import INITS, KINDS
from refconv_mm.layers.refconv2d import SHADOWED
from tests.conftest import needs_new_torch


@st.composite
def cases(draw, dtypes=(torch.float64, torch.float32, torch.bfloat16)):
    """Arguments of the convolution, options of the layer, dtype and memory format."""
    kernel = draw(st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([2, 3, 5])))
    padding = draw(st.sampled_from([0, 1, (2, 0), 'same', 'valid']))
    arguments = dict(
        in_channels=4, out_channels=draw(st.sampled_from([4, 8])), kernel_size=kernel, padding=padding,
        stride=1 if padding == 'same' else draw(st.integers(1, 2)), dilation=draw(st.integers(1, 2)),
        groups=draw(st.sampled_from([1, 2, 4])), bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(['zeros', 'reflect', 'replicate', 'circular'])),
    )  # fmt: skip
    init, identity = draw(st.sampled_from(INITS))
    options = dict(
        map_k=draw(st.sampled_from([m for m in (1, 3, 5) if m <= max(kernel)])),
        gain=draw(st.sampled_from([None, 1.0, 30.0])), init=init, identity=identity,
    )  # fmt: skip
    return arguments, options, draw(st.sampled_from(dtypes)), draw(st.sampled_from(FORMATS))


FORMATS = [torch.contiguous_format, torch.channels_last]
# A kernel of mixed strides, which torch's convolution in float64 does not differentiate.
MIXED_LAYOUT = (
    dict(in_channels=4, out_channels=4, kernel_size=(1, 2), padding='same', groups=2, bias=False),
    dict(map_k=1, gain=None, init='zero', identity=True), torch.float64, torch.channels_last,
)  # fmt: skip


def made(case) -> tuple[RefConv2d, nn.Conv2d, torch.Tensor]:
    """A layer with an update, the convolution with its kernel, and images."""
    arguments, options, dtype, memory_format = case
    torch.manual_seed(0)
    layer = RefConv2d(**arguments, **options, dtype=dtype)
    layer.load_state_dict(nn.Conv2d(**arguments, dtype=dtype).state_dict())
    if options['init'] == 'zero':
        assert torch.equal(layer.weight, layer.basis)
    with torch.no_grad():
        layer.trained.add_(torch.randn_like(layer.trained) / 10)
    layer = layer.to(memory_format=memory_format)
    plain = layer.to_conv2d()
    assert type(plain) is nn.Conv2d
    assert list(plain.state_dict()) == ['weight', 'bias'][: 1 + arguments['bias']]
    assert torch.equal(layer.weight, plain.weight)
    assert not torch.equal(plain.weight, layer.basis)
    return layer, plain, torch.randn(2, 4, 13, 11).to(dtype).to(memory_format=memory_format)


def emptied(module, memory_format=torch.preserve_format):
    twin = copy.deepcopy(module).to_empty(device='cpu')
    for tensor in [*twin.parameters(), *twin.buffers()]:
        tensor.data = torch.full_like(tensor, torch.nan, memory_format=memory_format)
    return twin


def reloaded(module, x):
    twin = emptied(module)  # in another layout the map would round otherwise
    twin.load_state_dict(module.state_dict())
    return twin(x)


def assigned(module, x):
    twin = copy.deepcopy(module).to('meta')
    assert twin(x.to('meta')).is_meta
    twin.load_state_dict(module.state_dict(), assign=True)
    return twin(x)


def drawn(module, x):
    twin = emptied(module, torch.contiguous_format)  # a basis and a kernel can differ in theirs
    torch.manual_seed(1)
    twin.reset_parameters()
    got = twin.eval()(x).detach()
    assert twin.train()(x).isfinite().all()  # a RefConv layer starts here
    return got


def autocast(module, x):
    with torch.autocast('cpu', torch.bfloat16):
        return module(x)


def after_inference_mode(module, x):
    with torch.inference_mode():
        module(x)
    return module(x)


WAYS = {
    'call': lambda module, x: module(x),
    'eval': lambda module, x: module.eval()(x),
    'no_grad': lambda module, x: torch.no_grad()(module)(x),
    'inference_mode': after_inference_mode,
    'autocast': autocast,
    'deepcopy': lambda module, x: copy.deepcopy(module)(x),
    'pickle': lambda module, x: pickle.loads(pickle.dumps(module))(x),
    'functional_call': lambda module, x: functional_call(module, module.state_dict(), (x,)),
    'fx': lambda module, x: torch.fx.symbolic_trace(nn.Sequential(module, nn.Tanh()))(x),
    'jit.trace': lambda module, x: torch.jit.trace(module, x)(x),
    'vmap': lambda module, x: vmap(lambda image: module(image[None])[0])(x),
    'checkpoint': lambda module, x: checkpoint(module, x, use_reentrant=False),
    'reset_parameters': drawn,
    'load_state_dict': reloaded,
    'assign': assigned,
}


@pytest.mark.parametrize('way', WAYS)
@settings(max_examples=15, deadline=None)
@given(case=cases())
def test_the_output_is_that_of_the_plain_convolution(way, case):
    """Bit for bit, in dtype and memory format: both call the same convolution with the same kernel."""
    layer, plain, x = made(case)
    got, expected = WAYS[way](layer, x), WAYS[way](plain, x)
    assert torch.equal(got, expected)
    assert (got.dtype, got.stride(), got.requires_grad) == (expected.dtype, expected.stride(), expected.requires_grad)
    assert type(layer) is RefConv2d


@settings(max_examples=30, deadline=None)
@example(MIXED_LAYOUT, 'call')
@given(case=cases(), way=st.sampled_from(['call', 'autocast', 'checkpoint', 'deepcopy']))
def test_first_and_second_derivatives_are_those_of_the_plain_convolution(case, way):
    """With respect to the images and the bias; the trained parameter's follows from the kernel's by the chain rule."""
    layer, plain, x = made(case)
    twin = copy.deepcopy(layer) if way == 'deepcopy' else layer
    found = []
    for module, kernel in ((twin, twin.trained), (plain, plain.weight)):
        image = x.clone().requires_grad_()
        outputs = WAYS[way if way != 'deepcopy' else 'call'](module, image).sin().sum()
        wanted = [image, kernel, *([] if module.bias is None else [module.bias])]
        first = torch.autograd.grad(outputs, wanted, create_graph=True)
        found.append([*first, *torch.autograd.grad(first[0].square().sum(), image)])
    (expected,) = torch.autograd.grad(layer.weight, layer.trained, found[1][1].detach())
    assert torch.equal(found[0].pop(1), expected)
    assert expected.any()
    del found[1][1]
    assert all(torch.equal(got, wanted) for got, wanted in zip(*found, strict=True))


@contextmanager
def default_device():
    torch.set_default_device('meta')
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize('context', [lambda: torch.device('meta'), default_device, FakeTensorMode])
@settings(max_examples=15, deadline=None)
@given(case=cases(dtypes=[torch.float32]))
def test_it_is_built_made_and_run_without_numbers(context, case):
    arguments, options, _, memory_format = case
    with context():
        plain, model = nn.Conv2d(**arguments), nn.Sequential(nn.Conv2d(**arguments))
        refocus(model, kinds=KINDS, **options)
        for layer in (RefConv2d(**arguments, **options), model):
            x = torch.randn(2, 4, 13, 11).to(memory_format=memory_format)
            got, expected = layer(x), plain(x)
            assert (got.shape, got.stride(), got.device) == (expected.shape, expected.stride(), expected.device)
            got.sum().backward()
            assert all(p.grad.shape == p.shape for p in layer.parameters())


@settings(max_examples=10, deadline=None)
@given(case=cases())
def test_hooks_run_as_those_of_the_plain_convolution(case):
    layer, plain, x = made(case)
    runs = []
    for module in (layer, plain):
        calls = []
        module.register_forward_pre_hook(lambda *_, calls=calls: calls.append('before forward'))
        module.register_forward_hook(lambda *_, calls=calls: calls.append('after forward'))
        module.register_full_backward_hook(lambda *_, calls=calls: calls.append('backward'))
        module.register_state_dict_pre_hook(lambda *_, calls=calls: calls.append('before saving'))
        module._register_state_dict_hook(lambda *_, calls=calls: calls.append('after saving'))
        module._register_load_state_dict_pre_hook(lambda *_, calls=calls: calls.append('before loading'))
        module.register_load_state_dict_post_hook(lambda *_, calls=calls: calls.append('after loading'))
        module.load_state_dict(module.state_dict())
        module(x.requires_grad_()).sum().backward()
        runs.append(calls)
    assert runs[0] == runs[1]
    assert len(runs[0]) == 7


@needs_new_torch
@pytest.mark.parametrize('compiler', ['export', 'compile'])
@settings(max_examples=4, deadline=None)
@given(case=cases(dtypes=[torch.float64]))
def test_it_is_exported_and_compiled_as_one_graph(compiler, case):
    layer, plain, x = made(case)
    torch._dynamo.reset()
    if compiler == 'export':
        exported = torch.export.export(layer, (x,), strict=False)
        torch.testing.assert_close(exported.module()(x), plain(x), rtol=0, atol=1e-12)
        return
    assume(not SHADOWED or 1 not in layer.kernel_size)  # older compilers mistake the strides of such kernels
    got = torch.compile(layer, fullgraph=True, backend='aot_eager')(x)
    torch.testing.assert_close(got, plain(x), rtol=0, atol=1e-12)
    grads = [torch.autograd.grad(y.sin().sum(), list(layer.parameters())) for y in (got, layer(x))]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
