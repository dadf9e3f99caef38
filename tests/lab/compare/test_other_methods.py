"""Attention modules behind layers of a backbone, and a basis that follows the net."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

import lab.nets.small_images  # noqa: F401
from lab.compare.other_methods import LabFollowingBasisHook, build_attention_backbone
from refconv_mm import refocus

SMALL = dict(type='LabSmallMobileNet')
SE = dict(type='mmpretrain.models.utils.SELayer', ratio=4)


@pytest.mark.parametrize('attention', [SE, dict(type='timm.layers.cbam.CbamModule')])
def test_attention_scales_the_outputs_of_the_layers_that_match(attention):
    if attention is not SE:
        pytest.importorskip('timm')
    torch.manual_seed(0)
    plain = MODELS.build(SMALL)
    model = build_attention_backbone(SMALL, attention, after='layers.*.conv.1')
    added = {name.split('.attention')[0] for name in model.state_dict() if '.attention' in name}
    assert added == {f'layers.{number}.conv.1' for number in range(5)}
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all('.attention.' in name for name in missing)
    x = torch.randn(2, 3, 32, 32)
    outputs = {}
    layer = model.layers[0].conv[1]
    layer.register_forward_hook(lambda _, args, output: outputs.update(args=args, output=output))
    other = copy.deepcopy(model)
    (out,) = other.eval()(x)
    assert not torch.equal(out, plain.eval()(x)[0])
    model.eval()(x)
    torch.testing.assert_close(outputs['output'], layer.attention(plain.layers[0].conv[1](*outputs['args'])))


def test_a_pattern_without_a_layer_and_a_type_that_is_no_path_are_refused():
    with pytest.raises(ValueError, match=r"after='blocks\.\*' matches no layer; there are, for instance: conv1"):
        build_attention_backbone(SMALL, SE, after='blocks.*')
    with pytest.raises(ValueError, match="type='SELayer', which cannot be imported"):
        build_attention_backbone(SMALL, dict(type='SELayer'), after='conv1')


def test_the_basis_follows_and_the_kernel_stays():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)).double()
    refocus(model, kinds=('dense', 'depthwise'))
    for layer in model:
        nn.init.normal_(layer.trained)
    before = copy.deepcopy(model)
    hook = LabFollowingBasisHook(2)
    hook.after_train_iter(SimpleNamespace(model=model, iter=0), 0)
    assert torch.equal(model[1].basis, before[1].basis)
    hook.after_train_iter(SimpleNamespace(model=model, iter=1), 1)
    for old, new in zip(before, model, strict=True):
        assert torch.equal(new.weight, old.weight)
        assert torch.equal(new.basis, old.weight)
        assert not new.trained.any()
    fresh = nn.Conv2d(8, 8, 3, groups=8).double()
    fresh.weight.data = before[1].weight.detach().clone()
    refocus(holder := nn.Sequential(fresh))
    torch.testing.assert_close(model[1].root, holder[0].root)
