"""Convolutions of other classes: their outputs, what trains, and the class that they are fused back to."""

import copy
import pickle

import pytest
import torch
from mmcv.cnn import Conv2d as Wrapped
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmcv.cnn.bricks.conv_ws import ConvAWS2d, ConvWS2d
from mmengine.config import Config
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn

from refconv_mm import RefConv2d, fuse, refocus
from refconv_mm import functional as RF
from refconv_mm.checkpoint import fuse_checkpoint
from refconv_mm.openmmlab.models import build_model
from refconv_mm.surgery import named_refconvs

TYPES = [Wrapped, Conv2dAdaptivePadding, ConvWS2d, ConvAWS2d, Conv2dSame, StdConv2d, StdConv2dSame, ScaledStdConv2d]
TYPES += [ScaledStdConv2dSame]


def net(kind: type[nn.Conv2d]) -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), kind(6, 8, 3, stride=2, groups=2)).double()
    if kind is ConvAWS2d:
        model[1].load_state_dict({'weight': model[1].weight.detach().clone()}, strict=False)  # derives its statistics
    for name, parameter in model[1].named_parameters():
        if name == 'gain':
            nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize('kind', TYPES)
@pytest.mark.parametrize('form', ['update', 'explicit'])
def test_each_class_computes_trains_and_comes_back_as_itself(kind, form):
    plain, x = net(kind), torch.randn(2, 3, 9, 10, dtype=torch.float64)
    model = copy.deepcopy(plain)
    assert refocus(model, form=form).matched == ['1']
    assert torch.equal(model(x), plain(x))
    model(x).square().sum().backward()
    plain(x).square().sum().backward()
    if form == 'update':  # the update of the raw kernel, whatever the class does to it
        conv, geo = plain[1], model[1].geometry
        expected = RF.gram_product(conv.weight.grad, RF.gram_matrices(conv.weight, geo))
        torch.testing.assert_close(model[1].refocus.grad, expected, rtol=1e-9, atol=1e-9)
    for name, parameter in plain.named_parameters():
        if name != '1.weight':
            assert torch.equal(model.get_parameter(name).grad, parameter.grad), name
    with torch.no_grad():
        model[1].trained.add_(torch.randn_like(model[1].trained) / 10)
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    expected = model(x)
    assert torch.equal(again(x), expected)
    fuse(again)
    assert type(again[1]) is kind
    assert vars(again[1]).keys() == vars(plain[1]).keys()
    assert list(again.state_dict()) == list(plain.state_dict())
    assert not torch.allclose(again(x), plain(x))
    torch.testing.assert_close(again(x), expected, rtol=0, atol=1e-12)
    plain.load_state_dict(again.state_dict())
    assert torch.equal(plain(x), again(x))


def test_adaptive_standardisation_derives_its_statistics_from_a_loaded_kernel():
    plain, source = net(ConvAWS2d), nn.Conv2d(6, 8, 3, stride=2, groups=2).double()
    model = copy.deepcopy(plain)
    refocus(model)
    for layer in (plain[1], model[1]):
        layer.load_state_dict(source.state_dict())
    assert torch.equal(model[1].weight_gamma, plain[1].weight_gamma)
    x = torch.randn(2, 3, 9, 10, dtype=torch.float64)
    assert torch.equal(model(x), plain(x))


@pytest.mark.parametrize('backbone', [
    dict(type='mmpretrain.EfficientNet', arch='b0'), dict(type='mmdet.EfficientNet', arch='b0'),
    dict(type='mmpretrain.EfficientNetV2', arch='b0'),
])  # fmt: skip
def test_conv_cfg_pads_like_the_layer_that_it_replaces(backbone):
    """EfficientNet's conv_cfg is Conv2dAdaptivePadding by default; RefConv alone would pad otherwise."""
    __import__(backbone['type'].split('.')[0] + '.models')
    plain = build_model(Config(dict(model=backbone)))
    model = build_model(Config(dict(model=backbone | dict(conv_cfg=dict(type='RefConv')))))
    model.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 70, 66)
    assert torch.equal(model(x)[0], plain(x)[0])
    names = [name for name, _ in named_refconvs(model)]
    assert names
    fuse(model)
    assert all(type(model.get_submodule(name)) is type(plain.get_submodule(name)) for name in names)


def test_the_plain_config_of_a_padded_backbone_has_its_default_again():
    head = dict(type='LinearClsHead', num_classes=5, in_channels=1280)
    backbone = dict(type='EfficientNet', arch='b0', conv_cfg=dict(type='RefConv', gain=1.0))
    model = dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head)
    cfg = Config(dict(default_scope='mmpretrain', model=model))
    refocused = build_model(cfg)
    for _, layer in named_refconvs(refocused):
        nn.init.normal_(layer.refocus, std=0.01)
    fused = fuse_checkpoint(cfg, dict(state_dict=refocused.state_dict(), meta={}), shape=(66, 70))  # with its proof
    assert fused.cfg.model.backbone.conv_cfg == dict(type='Conv2dAdaptivePadding')


def test_kernels_smaller_than_the_map_stay_ordinary():
    small = RefConv2d(4, 4, 2, groups=4)
    assert not small.is_refocused
    assert isinstance(small.weight, nn.Parameter)
    assert type(small.to_conv2d()) is nn.Conv2d
    assert RefConv2d(4, 4, 2, groups=4, map_k=1).is_refocused
    assert refocus(nn.Sequential(small, nn.Conv2d(4, 4, 3))).skipped == {'0': 'kernel (2, 2) smaller than map_k=3'}
