import copy
import io

import pytest
import torch
from rich.console import Console
from torch import nn

from refconv_mm import RefConv2d, fuse, refocus
from refconv_mm.surgery import Report, Row, named_refconvs


def net() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()),
        nn.Conv2d(8, 4, 1),
    )
    model[1].running_var.uniform_(0.5, 2)
    return model


def mark(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for _, layer in named_refconvs(model):
        layer.trained.data.copy_(torch.randn(layer.trained.shape, generator=generator) * 0.1)


def test_the_report_fits_80_columns_and_its_names_differ():
    names = [f'backbone.layers.{i}.blocks.0.attention.convolution.conv' for i in range(9)]
    rows = [Row(name, '3x3 1280->1280', 'depthwise', 'update', 11520, 11520) for name in names]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Report('fuse', rows).table(80))
    lines = console.export_text().splitlines()
    shown = [line.split()[0] for line in lines if '3x3 1280->1280' in line]
    assert len(set(shown)) == 9, lines
    assert max(map(len, lines)) <= 80


def test_refocus_keeps_keys_values_dtype_mode_and_function():
    model = net().double().eval()
    before, x = copy.deepcopy(model), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    report = refocus(model)
    assert report.matched == ['0', '2.0']
    assert set(model.state_dict()) == set(before.state_dict()) | {'0.refocus', '2.0.refocus'}
    for key, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    assert not any(module.training for module in model.modules())
    assert all(p.dtype == torch.float64 for p in model.parameters())
    assert torch.equal(model(x), before(x))


def test_fuse_is_the_inverse():
    model = net()
    before = copy.deepcopy(model)
    refocus(model)
    report = fuse(model)
    assert report.matched == ['0', '2.0']
    assert [type(m) for m in model.modules()] == [type(m) for m in before.modules()]
    for key, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


def test_fuse_by_hand():
    """A dirac map of 0.5 on one layer: the kernel is 1.5 times the basis, key for key."""
    model = nn.Sequential(nn.Conv2d(2, 2, 3, groups=2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(18.0).view(2, 1, 3, 3))
    base = copy.deepcopy(model)
    refocus(model, form='explicit')
    with torch.no_grad():
        model[0].trained[0, 0, 1, 1] = model[0].trained[1, 1, 1, 1] = 0.5
    x = torch.randn(1, 2, 5, 5)
    expected = model(x)
    fuse(model)
    assert torch.equal(model[0].weight, 1.5 * torch.arange(18.0).view(2, 1, 3, 3))
    assert list(model.state_dict()) == ['0.weight']
    plain = nn.Sequential(nn.Conv2d(2, 2, 3, groups=2, bias=False))
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(x), expected)
    assert not torch.allclose(plain(x), base(x))


@pytest.mark.parametrize('form', ['explicit', 'update'])
def test_a_trained_model_fuses_to_the_same_function(form):
    model = net().double().eval()
    base = copy.deepcopy(model)
    refocus(model, form=form, gain=1.0)
    mark(model)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = model(x)
    fuse(model)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(base(x), expected, atol=1e-3)


@pytest.mark.parametrize('options', [
    dict(include='nothing'), dict(map_k=2), dict(map_k=7), dict(form='x'), dict(identity=False), dict(gain=-1),
])  # fmt: skip
def test_an_error_leaves_the_model_as_it_was(options):
    model = net()
    modules = list(model.modules())
    with pytest.raises((ValueError, TypeError)):
        refocus(model, **options)
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))


def test_an_error_half_way_leaves_the_model_as_it_was(monkeypatch):
    model = net()
    modules = list(model.modules())
    made = []
    original = RefConv2d.from_conv2d.__func__

    def fail_second(cls, conv, options):
        if made:
            raise RuntimeError('out of memory')
        made.append(conv)
        return original(cls, conv, options)

    monkeypatch.setattr(RefConv2d, 'from_conv2d', classmethod(fail_second))
    with pytest.raises(RuntimeError, match='out of memory'):
        refocus(model)
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))


def test_dry_run_changes_nothing_and_reports_the_same():
    model = net()
    modules = list(model.modules())
    dry = refocus(model, dry_run=True)
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
    assert dry == refocus(model)
    refocused = list(model.modules())
    dry = fuse(model, dry_run=True)
    assert all(a is b for a, b in zip(refocused, model.modules(), strict=True))
    assert dry == fuse(model)


def test_the_report_counts_parameters_and_memory():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 4, 1))
    report = refocus(model, form='explicit')
    assert (report.params_before, report.params_after) == (72 + 36, 8 * 8 * 9 + 36)
    assert report.params_after == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert report.bytes_after == report.params_after * 4 * 3  # value, gradient and momentum in float32
    text = str(report)
    assert '3x3 8->8' in text
    assert 'depthwise' in text
    assert 'explicit' in text
    assert '1 x pointwise: nothing to refocus' in text


def test_shared_layers_stay_shared():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.ModuleDict(dict(a=nn.Sequential(conv), b=nn.Sequential(conv)))
    assert refocus(model).matched == ['a.0']
    assert model['a'][0] is model['b'][0]
    assert isinstance(model['b'][0], RefConv2d)
    fuse(model)
    assert model['a'][0] is model['b'][0]
    assert type(model['b'][0]) is nn.Conv2d


def test_shared_layers_go_by_any_of_their_names():
    def shared() -> nn.ModuleDict:
        conv = nn.Conv2d(4, 4, 3, padding=1)
        return nn.ModuleDict(dict(a=nn.Sequential(conv), b=nn.Sequential(conv), c=nn.Conv2d(4, 4, 3)))

    assert refocus(shared(), include='b.*').matched == ['a.0']
    assert refocus(shared(), exclude='b.*').matched == ['c']


def test_layers_that_share_a_bias_are_left_alone():
    model = net()
    model.append(nn.Conv2d(4, 8, 3))
    model[4].bias = model[2][0].bias
    assert refocus(model).skipped['4'] == 'shares its bias with 2.0'


def test_backward_and_loading_hooks_stay_hung_and_handles_work():
    model, calls = net(), []
    handles = [
        model[0].register_full_backward_hook(lambda *_: calls.append('backward')),
        model[0]._register_load_state_dict_pre_hook(lambda *_: calls.append('load')),
    ]
    refocus(model)
    model(torch.randn(1, 3, 6, 6, requires_grad=True)).sum().backward()
    model.load_state_dict(model.state_dict())
    assert calls == ['backward', 'load']
    for handle in handles:
        handle.remove()
    model(torch.randn(1, 3, 6, 6, requires_grad=True)).sum().backward()
    model.load_state_dict(model.state_dict())
    assert len(calls) == 2


def test_a_dry_run_draws_no_random_numbers():
    state = torch.get_rng_state()
    refocus(model := net(), init='kaiming', dry_run=True)
    state_after_net = torch.get_rng_state()
    refocus(model, init='kaiming', dry_run=True)
    assert torch.equal(torch.get_rng_state(), state_after_net)
    assert not torch.equal(state, state_after_net)


def test_frozen_layers_stay_frozen_and_hooks_stay_hung():
    model = net()
    model[0].weight.requires_grad_(False)
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    report = refocus(model)
    assert not model[0].refocus.requires_grad
    assert report.rows[0].note == 'frozen'
    model(torch.randn(1, 3, 6, 6))
    fuse(model)
    model(torch.randn(1, 3, 6, 6))
    assert not model[0].weight.requires_grad
    assert len(calls) == 2


@pytest.mark.parametrize('init', ['zero', 'kaiming'])
def test_layers_start_differently_and_the_rest_draws_as_without(init):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 6, 3, groups=6))
    state = torch.get_rng_state()
    refocus(model, init=init)
    if init == 'zero':
        assert torch.equal(torch.get_rng_state(), state)
    else:
        assert not torch.allclose(model[0].refocus, model[1].refocus)


def test_nothing_to_fuse_is_an_error():
    with pytest.raises(ValueError, match='has no RefConv layer to fuse'):
        fuse(net())
    with pytest.raises(ValueError, match='to_conv2d'):
        fuse(RefConv2d(3, 3, 3))
    with pytest.raises(TypeError, match=r'nn\.Module'):
        fuse({})


def test_refocusing_again_takes_the_fused_kernel_as_basis():
    model = net()
    refocus(model)
    mark(model)
    fused = copy.deepcopy(model[0]).to_conv2d().weight
    fuse(model)
    refocus(model)
    assert torch.equal(model[0].basis, fused)
    assert not model[0].refocus.any()
