"""What torch's other tools make of a refocused model: each gets a layer that never ran."""

import copy
import io
import warnings

import onnxruntime
import pytest
import torch
import torch.nn.utils.prune
from mmengine.config import Config
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from refconv_mm import RefConv2d, RefConvOptions, refocus
from refconv_mm.deploy.export import export_checkpoint
from refconv_mm.files.errors import MissingPackageError
from tests.conftest import needs_new_torch

KINDS = ('depthwise', 'grouped', 'dense')
GROUPS = [1, 2, 4]  # dense (the map trains), grouped and depthwise


def net(groups: int, **options) -> nn.Sequential:
    """A refocused model with an update, which never ran."""
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=groups), nn.ReLU())
    refocus(model, kinds=KINDS, **options)
    nn.init.normal_(model[0].trained)
    return model


def image() -> torch.Tensor:
    return torch.randn(2, 4, 6, 6)


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)  # float32, other orders of summation


def test_exporting_under_an_old_torch_names_the_version(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.1.2')
    with pytest.raises(MissingPackageError, match=r'torch 2\.6 or newer, this is 2\.1\.2: fuse the checkpoint here'):
        export_checkpoint(Config(), {})


@needs_new_torch
@pytest.mark.parametrize('groups', GROUPS)
def test_torch_export(groups):
    model, x = net(groups), image()
    close(torch.export.export(model, (x,)).module()(x), model(x))


def onnx_agrees(model: nn.Module, dynamo: bool) -> None:
    x, file = image(), io.BytesIO()
    if dynamo:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            file.write(torch.onnx.export(model, (x,), dynamo=True, verbose=False).model_proto.SerializeToString())
    else:
        torch.onnx.export(model, (x,), file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    close(torch.from_numpy(got), model(x).detach())


@needs_new_torch
@pytest.mark.parametrize('groups', GROUPS)
def test_the_onnx_exporter(groups):
    onnx_agrees(net(groups).eval(), dynamo=True)


@needs_new_torch
@pytest.mark.parametrize('groups', GROUPS)
def test_the_older_onnx_exporter(groups):
    onnx_agrees(net(groups).eval(), dynamo=False)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('groups', GROUPS)
def test_jit_trace(groups, training):
    model, x = net(groups).train(training), image()
    close(torch.jit.trace(model, x)(x), model(x))


@pytest.mark.parametrize('options', [dict(), dict(gain=None), dict(init='kaiming')])
@pytest.mark.parametrize('groups', GROUPS)
def test_func_gradients_are_those_of_backward(groups, options):
    """Of the whole batch, and of each sample by vmap."""
    model, x = net(groups, **options), image()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(parameters, x):
        return functional_call(model, (parameters, buffers), (x,)).square().sum()

    whole = grad(loss)(parameters, x)
    each = vmap(grad(lambda p, x: loss(p, x[None])), in_dims=(None, 0))(parameters, x)
    model(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        scale = parameter.grad.abs().max()
        close(whole[name] / scale, parameter.grad / scale)
        close(each[name].sum(0) / scale, parameter.grad / scale)


@pytest.mark.parametrize('groups', GROUPS)
def test_vmap_over_images_and_over_models(groups):
    model, x = net(groups), image()
    close(vmap(lambda y: model(y[None])[0])(x), model(x))
    models = [copy.deepcopy(model), net(groups)]
    parameters, buffers = stack_module_state(models)
    got = vmap(lambda p, b: functional_call(model, (p, b), (x,)))(parameters, buffers)
    close(got, torch.stack([each(x) for each in models]))


@pytest.mark.parametrize('groups', GROUPS)
def test_gradients_of_first_and_second_order_and_in_forward_mode_are_those_of_finite_differences(groups):
    model, x = net(groups).double(), image().double()
    name = model[0].trained_name
    other = {key: value for key, value in [*model.named_buffers(), *model.named_parameters()] if key != f'0.{name}'}

    def outputs(trained):
        return functional_call(nn.Sequential(model[0], nn.Tanh()), ({f'0.{name}': trained}, other), (x,)).sum((0, 2, 3))

    start = model[0].trained.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(outputs, start, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(outputs, start)


@pytest.mark.parametrize('groups', GROUPS)
def test_a_step_of_second_order_training_agrees_with_finite_differences(groups):
    """MAML: the loss after a step of SGD, differentiated through the step."""
    model, x = net(groups).double(), image().double()
    layer, direction = model[0], torch.randn_like(model[0].trained)

    def after_step(create_graph: bool) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(model(x).square().mean(), layer.trained, create_graph=create_graph)
        moved = {f'0.{layer.trained_name}': layer.trained - 0.1 * gradient}
        return functional_call(model, moved, (x,)).sin().mean()

    (got,) = torch.autograd.grad(after_step(True), layer.trained)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            layer.trained.add_(sign * 1e-5 * direction)
        values.append(after_step(False).item())
        with torch.no_grad():
            layer.trained.sub_(sign * 1e-5 * direction)
    # Central differences in float64: errors of 1e-10 and of the rounding over 1e-5.
    assert (got * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-9)


# -- writes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('change', 'error', 'match'), [
    (nn.utils.parametrizations.weight_norm, TypeError, 'fuse it first'),
    (nn.utils.parametrizations.spectral_norm, TypeError, 'fuse it first'),
    (lambda layer: nn.utils.parametrize.register_parametrization(layer, 'weight', nn.Identity()), TypeError, 'fuse it'),
    (lambda layer: nn.utils.prune.l1_unstructured(layer, 'weight', 0.5), TypeError, 'weight_orig'),  # torch's own
    (nn.utils.weight_norm, KeyError, 'weight'),  # torch's own
])  # fmt: skip
def test_what_replaces_the_kernel_is_refused_before_it_changes_anything(change, error, match):
    layer, x = net(4)[0], image()
    expected, keys = layer(x), list(layer.state_dict())
    with pytest.raises(error, match=match):
        change(layer)
    assert list(layer.state_dict()) == keys
    assert type(layer) is RefConv2d
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize('groups', GROUPS)
def test_channels_last_kernels_stay_so(groups):
    conv = nn.Conv2d(4, 4, 3, groups=groups).to(memory_format=torch.channels_last)
    layer = RefConv2d.from_conv2d(conv, RefConvOptions())
    for _ in range(2):
        assert layer.basis.is_contiguous(memory_format=torch.channels_last)
        layer.load_state_dict(nn.Conv2d(4, 4, 3, groups=groups).state_dict())
