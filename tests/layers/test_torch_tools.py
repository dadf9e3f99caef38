"""What torch's tools make of refocused layers: torch.func, inductor, ONNX, old versions, parametrizations."""

import copy
import io
import shutil
import warnings
from functools import partial

import onnxruntime
import pytest
import torch
import torch.nn.utils.prune
from mmengine.config import Config
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from refconv_mm import RefConv2d, refocus
from refconv_mm.deploy.export import export_checkpoint
from refconv_mm.files.errors import MissingPackageError
from refconv_mm.layers.options import INITS
from refconv_mm.layers.refconv2d import SHADOWED
from refconv_mm.surgery import named_refconvs
from tests.conftest import needs_new_torch
from tests.layers.test_as_conv2d import made


def refocused() -> nn.Sequential:
    """A model that never ran, with updates: a map trains, `V` trains, and a plain layer."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 4, 1),
    )  # fmt: skip
    refocus(model, kinds=('depthwise', 'grouped', 'dense'))
    for _, layer in named_refconvs(model):
        nn.init.normal_(layer.trained, std=0.1)
    return model


def image(dtype=torch.float32) -> torch.Tensor:
    return torch.randn(2, 3, 12, 12, dtype=dtype)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def train(model: nn.Module, call) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(3)
    for _ in range(3):
        optimizer.zero_grad()
        call(image(torch.float64)).square().mean().backward()
        optimizer.step()


@pytest.mark.skipif(shutil.which('c++') is None, reason='inductor needs a C++ compiler')
def test_compiled_training_is_eager_training():
    """Inductor reorders sums; in float64 that leaves 1e-15 a step."""
    eager = refocused().double()
    compiled, before = copy.deepcopy(eager), copy.deepcopy(eager.state_dict())
    train(eager, eager)
    train(compiled, torch.compile(compiled))
    for key, value in eager.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], value, rtol=0, atol=1e-12)
    assert all((eager.state_dict()[k] - before[k]).abs().max() > 1e-4 for k in before if 'refocus' in k)


def test_a_compiled_model_follows_a_loaded_basis():
    model, other, x = refocused().double(), refocused().double(), image(torch.float64)
    compiled = torch.compile(model, backend='aot_eager')
    before = compiled(x)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(compiled(x), other(x), rtol=0, atol=1e-12)
    assert not torch.allclose(before, other(x))


def test_no_compiler_takes_the_basis_for_the_kernel():
    """Those of older torch would: compiling leaves such a layer to eager execution, exporting is refused."""
    model, x = refocused(), image()
    torch.testing.assert_close(torch.compile(model, backend='eager')(x), model(x))
    strict = dict(strict=True) if hasattr(torch.export, 'Dim') else {}  # torch 2.1 knows nothing else
    for one_graph in (partial(torch.compile, fullgraph=True, backend='eager'),
                      lambda net: torch.export.export(net, (x,), **strict).module()):  # fmt: skip
        torch._dynamo.reset()
        try:
            torch.testing.assert_close(one_graph(model)(x), model(x))
        except torch._dynamo.exc.Unsupported:
            assert SHADOWED


def test_exporting_under_an_old_torch_names_the_version(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.1.2')
    with pytest.raises(MissingPackageError, match=r'torch 2\.7 or newer, this is 2\.1\.2: fuse the checkpoint here'):
        export_checkpoint(Config(), {})


@needs_new_torch
@pytest.mark.parametrize('dynamo', [True, False])
def test_both_onnx_exporters(dynamo):
    model, x, file = refocused().eval(), image(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if dynamo:
            file.write(torch.onnx.export(model, (x,), dynamo=True, verbose=False).model_proto.SerializeToString())
        else:
            torch.onnx.export(model, (x,), file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), model(x).detach(), rtol=1e-5, atol=1e-5)  # float32


# -- derivatives of the trained parameter, for all kinds of layers ----------------------------------------


@pytest.fixture(params=[(groups, start) for groups in (1, 2, 4) for start in (INITS[0], INITS[3])], ids=str)
def trained(request):
    """A layer in float64 whose map trains (one group) or whose `V` trains, with and without the identity."""
    groups, (init, identity) = request.param
    arguments = dict(in_channels=4, out_channels=4, kernel_size=3, padding=1, groups=groups, bias=True)
    layer, _, x = made((arguments, dict(init=init, identity=identity), torch.float64, torch.contiguous_format))
    assert layer.trained_name.startswith('refocus_map') == (groups == 1)
    return layer, x[..., :6, :6]


def test_gradients_of_first_and_second_order_and_in_forward_mode_are_those_of_finite_differences(trained):
    layer, x = trained

    def outputs(values):
        return functional_call(layer, {layer.trained_name: values}, (x,)).tanh().sum((0, 2, 3))

    start = layer.trained.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(outputs, start, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(outputs, start)


def test_func_gradients_are_those_of_backward_also_by_image_and_over_models(trained):
    layer, x = trained
    parameters, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())

    def loss(parameters, x):
        return functional_call(layer, (parameters, buffers), (x,)).square().sum()

    whole = grad(loss)(parameters, x)
    each = vmap(grad(lambda p, x: loss(p, x[None])), in_dims=(None, 0))(parameters, x)
    layer(x).square().sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(whole[name], parameter.grad, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(each[name].sum(0), parameter.grad, rtol=1e-10, atol=1e-10)
    models = [layer, copy.deepcopy(layer)]
    nn.init.normal_(models[1].trained)
    got = vmap(lambda p, b: functional_call(layer, (p, b), (x,)))(*stack_module_state(models))
    torch.testing.assert_close(got, torch.stack([model(x) for model in models]), rtol=1e-10, atol=1e-10)


# -- refused by name ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(('change', 'error', 'match'), [
    (nn.utils.parametrizations.weight_norm, TypeError, 'fuse it first'),
    (nn.utils.parametrizations.spectral_norm, TypeError, 'fuse it first'),
    (lambda layer: nn.utils.parametrize.register_parametrization(layer, 'weight', nn.Identity()), TypeError, 'fuse it'),
    (lambda layer: nn.utils.prune.l1_unstructured(layer, 'weight', 0.5), TypeError, 'weight_orig'),  # torch's own
    (nn.utils.weight_norm, KeyError, 'weight'),  # torch's own
    (nn.utils.spectral_norm, KeyError, 'weight'),
])  # fmt: skip
def test_what_replaces_the_kernel_is_refused_before_it_changes_anything(change, error, match, trained):
    layer, x = trained
    expected, keys = layer(x), list(layer.state_dict())
    with pytest.raises(error, match=match):
        change(layer)
    assert list(layer.state_dict()) == keys
    assert type(layer) is RefConv2d
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    assert not layer._forward_pre_hooks
