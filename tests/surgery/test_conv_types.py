"""Convolutions of other classes: their outputs, what trains, and the class that they are fused back to."""

import copy
import pickle

import pytest
import torch
from mmcv.cnn import Conv2d as Wrapped
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmcv.cnn.bricks.conv_ws import ConvAWS2d, ConvWS2d
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn

from refconv_mm import fuse, refocus
from refconv_mm.surgery.conv_types import refconv_for

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
@pytest.mark.parametrize('map_k', [1, 3])
def test_each_class_computes_trains_and_comes_back_as_itself(kind, map_k):
    plain, x = net(kind), torch.randn(2, 3, 9, 10, dtype=torch.float64)
    model = copy.deepcopy(plain)
    assert refocus(model, map_k=map_k, gain=None).matched == ['1']
    assert torch.equal(model(x), plain(x))
    model(x).square().sum().backward()
    plain(x).square().sum().backward()
    assert isinstance(model[1], kind)
    assert model[1].trained_name == ('refocus_map' if map_k == 1 else 'refocus')
    if map_k == 3:  # the update of the raw kernel, whatever the class does to it
        gradient = plain[1].weight.grad.reshape(len(model[1].root), -1, 9)
        expected = (gradient @ model[1].root).view(model[1].refocus.shape)
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


@pytest.mark.parametrize('kind', TYPES)
def test_each_layer_can_be_constructed_with_the_arguments_of_its_class(kind):
    torch.manual_seed(1)
    plain = kind(6, 8, 3, groups=2, bias=False)
    torch.manual_seed(1)
    layer = refconv_for(plain)(6, 8, 3, groups=2, bias=False, gain=2.0)
    assert layer.plain_type is kind
    assert torch.equal(layer.basis, plain.weight)
    x = torch.randn(1, 6, 9, 9)
    assert torch.equal(layer.eval()(x), plain.eval()(x)) or kind is ConvAWS2d
