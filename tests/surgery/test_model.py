import copy

import pytest
import torch
from torch import nn

from refconv_mm import RefConv2d, fuse, refocus
from refconv_mm.surgery import model as surgery
from refconv_mm.surgery import named_refconvs

ALL = ('depthwise', 'grouped', 'dense')


def net() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()),
        nn.Conv2d(8, 4, 1),
    )
    model[1].running_var.uniform_(0.5, 2)
    return model


def test_refocus_keeps_keys_values_dtype_mode_and_function():
    model = net().double().eval()
    before, x = copy.deepcopy(model), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    report = refocus(model, kinds=ALL)
    assert report.matched == ['0', '2.0']
    assert set(model.state_dict()) == set(before.state_dict()) | {'0.refocus_map', '0.root', '2.0.refocus', '2.0.root'}
    for key, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    assert not any(module.training for module in model.modules())
    assert all(p.dtype == torch.float64 for p in model.parameters())
    assert torch.equal(model(x), before(x))


def test_fuse_by_hand():
    """`V` by hand, and the root of a kernel of equal weights: the kernel, key for key."""
    model = nn.Sequential(nn.Conv2d(10, 10, 3, groups=10, bias=False), nn.Conv2d(10, 1, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(90.0).view(10, 1, 3, 3))
        model[1].weight.fill_(2.0)
    base = copy.deepcopy(model)
    refocus(model, kinds=ALL, gain=None)
    assert torch.equal(model[1].root, torch.tensor(1.0))
    with torch.no_grad():
        model[0].refocus[3, 0, 1, 1] = 1.0
        model[1].refocus_map[4, 0, 1, 1] = 0.5
    x = torch.randn(1, 10, 7, 7)
    expected = model(x)
    kernel = torch.arange(90.0).view(10, 1, 3, 3)
    kernel[3, 0] += model[0].root[0, 4].view(3, 3)
    fuse(model)
    assert torch.equal(model[0].weight, kernel)
    assert model[1].weight[0, 4].unique().tolist() == [3.0]
    assert model[1].weight[0, 5].unique().tolist() == [2.0]
    assert list(model.state_dict()) == ['0.weight', '1.weight']
    plain = copy.deepcopy(base)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(x), expected)
    assert not torch.allclose(plain(x), base(x))


def test_an_error_half_way_leaves_the_model_as_it_was(monkeypatch):
    model, made = net(), []
    original = surgery.initial_values

    def fail_second(*args):
        if made:
            raise RuntimeError('out of memory')
        made.append(original(*args))
        return made[0]

    monkeypatch.setattr(surgery, 'initial_values', fail_second)
    with pytest.raises(RuntimeError, match='out of memory'):
        refocus(model, kinds=ALL)
    assert not named_refconvs(model)


def test_dry_run_changes_nothing_and_reports_the_same():
    model, state = net(), torch.get_rng_state()
    dry = refocus(model, kinds=ALL, init='kaiming', dry_run=True)
    assert not named_refconvs(model)
    assert torch.equal(torch.get_rng_state(), state)  # it draws no random numbers
    assert dry == refocus(model, kinds=ALL, init='kaiming')
    dry = fuse(model, dry_run=True)
    assert len(named_refconvs(model)) == 2
    assert dry == fuse(model)


def test_the_report_counts_parameters():
    model = nn.Sequential(nn.Conv2d(8, 8, 5, groups=2, bias=False), nn.Conv2d(8, 4, 1))
    report = refocus(model, map_k=1)
    assert (report.params_before, report.params_after) == (800 + 36, 32 * 2 + 36)
    assert report.params_after == sum(p.numel() for p in model.parameters() if p.requires_grad)
    for word in ('5x5 8->8', 'grouped', '836 before, 100 after', '1 x pointwise: nothing to refocus'):
        assert word in ' '.join(str(report).split())
    assert fuse(model).params_after == 800 + 36


def test_layers_stay_the_same_objects_with_all_that_hangs_on_them():
    """Hooks of every kind, handles, references and the place of the kernel among the parameters."""
    model, calls = net(), []
    conv, conv.note = model[2][0], 'mine'
    handles = [
        conv.register_forward_hook(lambda *_: calls.append('forward')),
        conv.register_full_backward_hook(lambda *_: calls.append('backward')),
        conv._register_load_state_dict_pre_hook(
            lambda module, *_: calls.append(type(module).__name__), with_module=True
        ),
        conv._register_state_dict_hook(lambda *_: calls.append('state')),
    ]
    order = [name for name, _ in model.named_parameters()]
    refocus(model, kinds=ALL)
    assert model[2][0] is conv
    assert [name for name, _ in model.named_parameters()] == ['0.refocus_map', *order[1:3], '2.0.refocus', *order[4:]]
    model.load_state_dict(model.state_dict())
    model(torch.randn(1, 3, 6, 6, requires_grad=True)).sum().backward()
    assert set(calls) == {'forward', 'backward', 'RefConv2d', 'state'}
    calls.clear()
    fuse(model)
    assert (model[2][0] is conv, type(conv), conv.note) == (True, nn.Conv2d, 'mine')
    assert [name for name, _ in model.named_parameters()] == order
    for handle in handles:
        handle.remove()
    model.load_state_dict(model.state_dict())
    model(torch.randn(1, 3, 6, 6))
    assert not calls


class Blocks(nn.Module):
    """Keeps `conv_cfg` to build layers later, as mmpretrain's RepVGG does."""

    def __init__(self):
        super().__init__()
        self.conv_cfg, self.stages = (
            dict(type='RefConv', gain=2.0),
            [dict(conv_cfg=dict(type='RefConv')), dict(depth=3)],
        )
        self.adaptive = dict(type='mmcv.RefConvAdaptivePadding', map_k=3, bias=False)
        self.other = dict(type='ConvWS')
        self.conv = nn.Conv2d(4, 4, 3, groups=4)


def test_after_fusing_no_module_builds_refconv_layers():
    model = Blocks()
    kept = model.other
    refocus(model)
    fuse(model)
    assert model.conv_cfg is None
    assert model.stages == [dict(conv_cfg=None), dict(depth=3)]
    assert model.adaptive == dict(type='Conv2dAdaptivePadding', bias=False)
    assert model.other is kept


def test_shared_layers_stay_shared_and_go_by_any_of_their_names():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.ModuleDict(dict(a=nn.Sequential(conv), b=nn.Sequential(conv), c=nn.Conv2d(4, 4, 3)))
    assert refocus(model, kinds=ALL, exclude='b.*', dry_run=True).matched == ['c']
    assert refocus(model, kinds=ALL, include='b.*').matched == ['a.0']
    assert model['a'][0] is model['b'][0]
    assert isinstance(model['b'][0], RefConv2d)
    fuse(model)
    assert model['a'][0] is model['b'][0]
    assert type(model['b'][0]) is nn.Conv2d


def test_layers_that_share_a_bias_are_left_alone():
    model = net()
    model.append(nn.Conv2d(4, 8, 3))
    model[4].bias = model[2][0].bias
    assert refocus(model, kinds=ALL).skipped['4'].startswith('shares a parameter with another layer')


def test_frozen_layers_stay_frozen():
    model = net()
    model[0].weight.requires_grad_(False)
    report = refocus(model, kinds=ALL)
    assert not model[0].refocus_map.requires_grad
    assert report.rows[0].note == 'frozen'
    fuse(model)
    assert not model[0].weight.requires_grad


@pytest.mark.parametrize('init', ['zero', 'kaiming'])
def test_layers_start_differently_and_the_rest_draws_as_without(init):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 6, 3, groups=6))
    state = torch.get_rng_state()
    refocus(model, kinds=ALL, init=init)
    if init == 'zero':
        assert torch.equal(torch.get_rng_state(), state)
    else:
        assert not torch.allclose(model[0].weight - model[0].basis, model[1].weight - model[1].basis)


def test_nothing_to_fuse_is_an_error():
    with pytest.raises(ValueError, match='has no RefConv layer to fuse'):
        fuse(net())
    with pytest.raises(ValueError, match='to_conv2d'):
        fuse(RefConv2d(3, 3, 3))
    with pytest.raises(TypeError, match=r'nn\.Module'):
        fuse({})
