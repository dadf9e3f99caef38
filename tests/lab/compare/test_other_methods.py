"""Attention modules behind layers of a backbone."""

import copy

import pytest
import torch
from mmengine.registry import MODELS

import lab.nets.small_images  # noqa: F401
from lab.compare.other_methods import build_attention_backbone

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
