"""torch.compile, reduced precision and memory layouts: each agrees with plain eager execution."""

import copy
import shutil

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from refconv_mm import fuse, refocus
from refconv_mm.files.unpickling import takes_allow_list
from refconv_mm.surgery import named_refconvs
from tests.conftest import needs_new_torch

OPTIONS = [
    dict(),
    dict(init='kaiming', gain=None),
    dict(init='dirac', identity=False),
]


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    )


def refocused(**options) -> nn.Sequential:
    model = net()
    refocus(model, kinds=('depthwise', 'dense'), **options)
    for _, layer in named_refconvs(model):
        nn.init.normal_(layer.trained, std=0.1)
    return model


def train(model: nn.Module, call, steps: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(3)
    dtype = next(model.parameters()).dtype
    for _ in range(steps):
        optimizer.zero_grad()
        call(torch.randn(2, 3, 12, 12, generator=generator, dtype=dtype)).square().mean().backward()
        optimizer.step()


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.skipif(shutil.which('c++') is None, reason='inductor needs a C++ compiler')
def test_compiled_training_is_eager_training():
    """Inductor reorders sums; in float64 that leaves 1e-15 a step."""
    eager = refocused().double()
    compiled = copy.deepcopy(eager)
    before = copy.deepcopy(eager.state_dict())
    train(eager, eager)
    train(compiled, torch.compile(compiled))
    for key, value in eager.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], value, rtol=0, atol=1e-12)
    assert all((eager.state_dict()[k] - before[k]).abs().max() > 1e-4 for k in before if 'refocus' in k)


@needs_new_torch
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_a_step_is_one_graph_from_the_first_on(options):
    model = refocused(**options).double()
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    got = compiled(x)
    torch.testing.assert_close(got, model(x), rtol=0, atol=1e-12)
    grads = [torch.autograd.grad(y.square().sum(), list(model.parameters())) for y in (got, model(x))]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(takes_allow_list(), reason='a fault of older torch')
def test_an_old_compiler_never_gets_a_layer():
    """It would read the basis for the kernel; so a graph ends at each layer, and what wants one graph is refused."""
    model, x = refocused(), torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(torch.compile(model, backend='eager')(x), model(x))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r'RefConv2d\.forward'):
        torch.compile(model, fullgraph=True, backend='eager')(x)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r'RefConv2d\.forward'):
        torch.export.export(model, (x,))


def test_a_compiled_model_follows_a_loaded_basis():
    model, other = refocused().double(), refocused().double()
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    compiled = torch.compile(model, backend='aot_eager')
    before = compiled(x)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(compiled(x), other(x), rtol=0, atol=1e-12)
    assert not torch.allclose(before, other(x))


@pytest.mark.skipif(shutil.which('c++') is None, reason='inductor needs a C++ compiler')
def test_a_fused_model_compiles_for_inference():
    model = refocused().double().eval()
    expected = model(x := torch.randn(2, 3, 12, 12, dtype=torch.float64))
    fuse(model)
    with torch.inference_mode():
        torch.testing.assert_close(torch.compile(model)(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_bfloat16_autocast_rounds_the_kernel_once_as_of_a_plain_convolution(options):
    model = refocused(**options)
    plain = copy.deepcopy(model)
    fuse(plain)
    x = torch.randn(2, 3, 12, 12)
    with torch.autocast('cpu', torch.bfloat16):
        got, expected = model(x), plain(x)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, expected)
    got.float().square().mean().backward()
    for _, layer in named_refconvs(model):
        assert layer.trained.grad.dtype == torch.float32
        assert layer.trained.grad.any()


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_channels_last(options):
    """Layout of weights and images: the same numbers, the layout of the images kept, training included."""
    model = refocused(**options).double()
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64).to(memory_format=torch.channels_last)
    assert copy.deepcopy(last)(x).is_contiguous(memory_format=torch.channels_last)
    train(model, model)
    train(last, lambda image: last(image.to(memory_format=torch.channels_last)))
    for key, value in model.state_dict().items():
        torch.testing.assert_close(last.state_dict()[key], value, rtol=0, atol=1e-12)
    fuse(last)
    torch.testing.assert_close(last.eval()(x), model.eval()(x), rtol=0, atol=1e-12)


def test_activation_checkpointing_recomputes_the_same_gradients():
    model = refocused().double()
    model[1].momentum = 0.0  # otherwise running statistics are updated twice, in a plain model too
    recomputed = copy.deepcopy(model)
    train(model, model)
    train(recomputed, lambda x: checkpoint(recomputed, x, use_reentrant=False))
    for key, value in model.state_dict().items():
        if not key.endswith('num_batches_tracked'):
            torch.testing.assert_close(recomputed.state_dict()[key], value, rtol=0, atol=1e-12)
