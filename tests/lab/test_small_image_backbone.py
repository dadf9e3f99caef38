"""Backbones for small images."""

import pytest
import torch
from mmengine.config import Config

from refconv_mm.openmmlab.models import build_model
from refconv_mm.surgery import named_refconvs
from tests.conftest import ROOT


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
