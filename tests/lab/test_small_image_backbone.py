"""Backbones for small images."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from lab.nets.small_image_backbone import build_small_image_backbone
from refconv_mm.openmmlab.models import build_model
from refconv_mm.surgery import named_refconvs
from tests.conftest import ROOT


@MODELS.register_module()
class TwoStrides(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, stride=2))


def test_strides_go_and_keys_stay():
    model = build_small_image_backbone(dict(type='TwoStrides'), stride1=['0'], without=['1'])
    assert set(model.state_dict()) == set(TwoStrides().state_dict())
    assert model(torch.zeros(1, 3, 9, 9)).shape == (1, 4, 4, 4)
    assert (model[0].stride, model[2].stride) == ((1, 1), (2, 2))


def test_names_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="TwoStrides has no convolution 'stem'"):
        build_small_image_backbone(dict(type='TwoStrides'), stride1=['stem'])
    with pytest.raises(ValueError, match="no convolution '1'"):
        build_small_image_backbone(dict(type='TwoStrides'), stride1=['1'])
    with pytest.raises(ValueError, match="no layer 'pool'"):
        build_small_image_backbone(dict(type='TwoStrides'), without=['pool'])


@pytest.mark.parametrize(
    ('net', 'layers', 'side'),
    [('mobilenet-v2', 18, 2), ('shufflenet-v2-1x', 20, 4), ('mobilenet-v3-large', 16, 2), ('resnet18', 17, 4)],
)
def test_the_four_nets_on_an_image_of_cifar(net, layers, side):
    cfg = Config.fromfile(ROOT / f'lab/configs/cifar10/{net}_cifar10.py')
    cfg.model.backbone = dict(
        type='RefocusedBackbone', kinds=['depthwise', 'grouped', 'dense'], backbone=cfg.model.backbone
    )
    model = build_model(cfg)
    assert len(named_refconvs(model)) == layers
    (features,) = model.extract_feat(torch.zeros(1, 3, 32, 32), stage='backbone')
    assert features.shape[2:] == (side, side)
