"""What torch's other tools make of a refocused model: each gets a layer that never ran."""

import copy
import io
import warnings

import onnxruntime
import pytest
import torch
import torch.nn.utils.prune
from mmengine.config import Config
from mmengine.model import kaiming_init
from torch import nn
from torch.func import functional_call, grad, jacfwd, stack_module_state, vmap

from refconv_mm import RefConv2d, fuse
from refconv_mm.errors import MissingPackageError
from refconv_mm.export import export_checkpoint

from .conftest import needs_new_torch

GROUPS = [1, 2, 4]  # dense, grouped and depthwise


def net(groups: int, **options) -> nn.Sequential:
    """A refocused model with an update, which never ran."""
    model = nn.Sequential(RefConv2d(4, 4, 3, padding=1, groups=groups, **options), nn.ReLU())
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


@pytest.mark.parametrize('groups', GROUPS)
def test_jit_script_wants_a_fused_copy_and_leaves_the_model_alone(groups):
    """Upstream: script modules have no hooks, and `__prepare_scriptable__` replaces the layers of the user's model."""
    model, x = net(groups), image()
    with pytest.raises(TypeError, match='fuse a copy of the model'):
        torch.jit.script(model)
    assert model[0].is_refocused
    copied = copy.deepcopy(model)
    fuse(copied)
    close(torch.jit.script(copied)(x), model(x))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('groups', GROUPS)
def test_jit_trace(groups, training):
    model, x = net(groups).train(training), image()
    close(torch.jit.trace(model, x)(x), model(x))


@pytest.mark.parametrize('options', [dict(), dict(gain=1.0), dict(form='explicit')])
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


def test_forward_mode_is_the_derivative_of_the_kernel_without_the_gram_matrix():
    """The hook on the gradient is no part of the function: jvp sees the plain kernel."""
    model, x = net(4), image()
    plain = model[0].to_conv2d()
    other = dict(model.named_buffers()) | {'0.bias': model[0].bias}
    got = jacfwd(lambda d: functional_call(model, ({'0.refocus': d}, other), (x,)).sum())(model[0].refocus)
    expected = jacfwd(lambda w: functional_call(nn.Sequential(plain, nn.ReLU()), {'0.weight': w}, (x,)).sum())(
        plain.weight
    )
    close(got, expected)


# -- writes ------------------------------------------------------------------------------------------------


def test_reset_parameters_draws_a_basis_like_a_plain_layer():
    layer = net(4, gain=1.0)[0]
    layer.basis_source = 'checkpoint'
    torch.manual_seed(1)
    layer.reset_parameters()
    torch.manual_seed(1)
    plain = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    assert torch.equal(layer.basis, plain.weight)
    assert torch.equal(layer.bias, plain.bias)
    assert torch.equal(layer.weight, plain.weight)  # the update is at its start
    assert layer.basis_source == 'random'  # RefConvHook refuses to train it
    diagonal = torch.diagonal(layer.metric, dim1=-2, dim2=-1)
    torch.testing.assert_close(diagonal.mean(), torch.tensor(1.0), rtol=1e-5, atol=0)


def test_deferred_initialisation_reaches_basis_update_and_metric():
    with torch.device('meta'):
        model = nn.Sequential(RefConv2d(4, 4, 3, groups=4, gain=1.0), RefConv2d(4, 4, 1))
    model.to_empty(device='cpu')
    for module in model:
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.detach().fill_(torch.nan)
        module.reset_parameters()
    assert all(t.isfinite().all() for t in [*model.parameters(), *model.buffers()])
    assert model[0].basis.any()
    assert not model[0].refocus.any()


def test_a_write_into_the_computed_kernel_is_lost_and_one_into_the_basis_counts():
    """As the docstring says: the composed kernel is a new tensor with each reading, which nothing can watch."""
    layer = RefConv2d(4, 4, 3, groups=4)
    before = layer.weight.detach().clone()
    kaiming_init(layer)
    nn.init.zeros_(layer.weight)
    layer.weight.data.zero_()
    assert torch.equal(layer.weight, before)
    with torch.no_grad():
        nn.init.ones_(layer.basis)
    layer.restart()
    assert torch.equal(layer.weight, torch.ones_like(before))


@pytest.mark.parametrize(('change', 'error', 'match'), [
    (nn.utils.parametrizations.weight_norm, TypeError, 'fuse the model first'),
    (nn.utils.parametrizations.spectral_norm, TypeError, 'fuse the model first'),
    (lambda layer: nn.utils.prune.l1_unstructured(layer, 'refocus', 0.5), TypeError, 'refocus.*fuse the model first'),
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


@pytest.mark.parametrize('form', ['update', 'explicit'])
@pytest.mark.parametrize('groups', GROUPS)
def test_channels_last_kernels_stay_so(groups, form):
    conv = nn.Conv2d(4, 4, 3, groups=groups).to(memory_format=torch.channels_last)
    layer = RefConv2d.from_conv2d(conv, RefConv2d(4, 4, 3, form=form).options)
    for _ in range(2):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
        assert layer.to_conv2d().weight.is_contiguous(memory_format=torch.channels_last)
        layer.load_state_dict(nn.Conv2d(4, 4, 3, groups=groups).state_dict())
