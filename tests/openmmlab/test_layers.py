"""What configs name: `conv_cfg=dict(type='RefConv')`, from every library and in all that mmcv does with layers."""

import copy
import importlib

import mmcv.cnn
import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from refconv_mm import RefConv2d, RefConvOptions, fuse
from refconv_mm.openmmlab import RefConv
from refconv_mm.openmmlab.layers import check_padding
from refconv_mm.openmmlab.models import build_model, load_whole
from refconv_mm.surgery import named_refconvs


def trained(layer: RefConv2d) -> RefConv2d:
    layer.restart()
    layer.source = 'model'
    nn.init.normal_(layer.trained, std=0.1)
    return layer


def conv_bn(groups: int) -> nn.Sequential:
    model = nn.Sequential(trained(RefConv2d(6, 6, 3, groups=groups, bias=False)), nn.BatchNorm2d(6)).double()
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize('groups', [1, 6])
def test_mmcv_fuse_conv_bn_takes_the_effective_kernel(groups):
    model, x = conv_bn(groups), torch.randn(2, 6, 7, 7, dtype=torch.float64)
    folded = mmcv.cnn.fuse_conv_bn(copy.deepcopy(model))
    torch.testing.assert_close(folded(x), model(x), rtol=0, atol=1e-12)
    assert type(folded[0]) is nn.Conv2d
    assert set(folded[0].state_dict()) == {'weight', 'bias'}


@pytest.mark.parametrize('groups', [1, 6])
def test_efficient_conv_bn_eval_takes_the_effective_kernel(groups):
    options = dict(groups=groups, conv_cfg=dict(type='RefConv', kinds=['dense', 'depthwise']), norm_cfg=dict(type='BN'))
    module = ConvModule(6, 6, 3, **options).double().eval()
    trained(module.conv)
    module.bn.running_mean.uniform_(-1, 1)
    on_the_fly = ConvModule(6, 6, 3, efficient_conv_bn_eval=True, **options).double().eval()
    on_the_fly.load_state_dict(module.state_dict())
    x = torch.randn(2, 6, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(on_the_fly(x), module(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet', 'mmseg', 'mmpretrain'])
@pytest.mark.parametrize('kind', ['RefConv', RefConv])
def test_conv_cfg_builds_it_from_every_scope(scope, kind):
    importlib.import_module(scope)
    with DefaultScope.overwrite_default_scope(scope):
        layer = build_conv_layer(dict(type=kind, gain=2.0), 4, 4, 3, padding=1, groups=4, bias=False)
        module = ConvModule(4, 4, 3, groups=4, conv_cfg=dict(type=kind))
    assert type(layer) is type(module.conv) is RefConv2d
    assert layer.options == RefConvOptions(gain=2.0)
    assert layer.source is None


@pytest.mark.parametrize(('arguments', 'options'), [
    ((8, 4, 1), dict()), ((8, 8, 2), dict(groups=8)), ((8, 8, 3), dict()), ((8, 8, 3), dict(groups=2, kinds='dense')),
])  # fmt: skip
def test_what_cannot_be_refocused_is_an_ordinary_convolution(arguments, options):
    torch.manual_seed(1)
    layer = build_conv_layer(dict(type='RefConv', **options), *arguments, padding=1)
    torch.manual_seed(1)
    options.pop('kinds', None)
    plain = nn.Conv2d(*arguments, padding=1, **options)
    assert type(layer) is nn.Conv2d
    assert torch.equal(layer.weight, plain.weight)
    assert isinstance(build_conv_layer(dict(type='RefConv', kinds='dense'), 8, 8, 3), RefConv2d)


@pytest.mark.parametrize('kind', ['TruncNormal', 'Kaiming', 'Normal', 'Constant'])
def test_init_cfg_for_conv2d_initializes_the_basis_as_that_of_a_plain_layer(kind):
    """It matches a class and its bases' names, and would reinitialize a nested convolution."""
    init = dict(type=kind, layer='Conv2d', **(dict(val=7.0) if kind == 'Constant' else {}))

    class Net(BaseModule):
        def __init__(self, conv):
            super().__init__(init_cfg=init)
            self.conv = conv(4, 4, 3, groups=4)

    nets = [Net(RefConv2d), Net(nn.Conv2d)]
    for net in nets:
        torch.manual_seed(1)
        net.init_weights()
    assert torch.equal(nets[0].conv.weight, nets[1].conv.weight)
    assert not nets[0].conv.refocus.any()
    before = trained(nets[0].conv).weight.detach().clone()
    nets[0]._is_init = False
    nets[0].init_weights()  # a filled layer stays as it is
    assert torch.equal(nets[0].conv.weight, before)


BACKBONES = [
    dict(type='mmpretrain.EfficientNet', arch='b0'), dict(type='mmdet.EfficientNet', arch='b0'),
    dict(type='mmpretrain.EfficientNetV2', arch='b0'),
]  # fmt: skip


@pytest.mark.parametrize('backbone', BACKBONES)
def test_a_backbone_that_pads_takes_the_layer_that_pads_and_refuses_the_other(backbone):
    importlib.import_module(backbone['type'].split('.')[0] + '.models')
    plain = build_model(Config(dict(model=backbone)))
    with pytest.raises(ValueError, match=r"EfficientNet.*write type='RefConvAdaptivePadding'"):
        build_model(Config(dict(model=backbone | dict(conv_cfg=dict(type='RefConv')))))
    model = build_model(Config(dict(model=backbone | dict(conv_cfg=dict(type='RefConvAdaptivePadding')))))
    load_whole(model, plain.state_dict(), 'the plain state')
    x = torch.randn(1, 3, 70, 66)
    assert torch.equal(model(x)[0], plain(x)[0])
    names = [name for name, _ in named_refconvs(model)]
    assert names
    fuse(model)
    assert all(type(model.get_submodule(name)) is type(plain.get_submodule(name)) for name in names)
    check_padding(model)


@pytest.mark.parametrize('arch', ['small', 'large'])
def test_a_backbone_that_asks_for_the_class_that_pads_finds_it(arch):
    """mmseg's MobileNetV3 dilates layers by hand and sets their padding, unless they are Conv2dAdaptivePadding."""
    importlib.import_module('mmseg.models')
    config = dict(type='mmseg.MobileNetV3', arch=arch)
    plain = MODELS.build(config | dict(conv_cfg=dict(type='Conv2dAdaptivePadding')))
    model = MODELS.build(config | dict(conv_cfg=dict(type='RefConvAdaptivePadding')))
    load_whole(model, plain.state_dict(), 'the plain state')
    plain.eval(), model.eval()
    x = torch.randn(1, 3, 70, 66)
    assert all(torch.equal(got, expected) for got, expected in zip(model(x), plain(x), strict=True))
    assert any(layer.dilation != (1, 1) for _, layer in named_refconvs(model))


def test_a_backbone_built_without_padding_on_purpose_is_left_alone():
    importlib.import_module('mmpretrain.models')
    backbone = dict(type='mmpretrain.EfficientNet', arch='b0', conv_cfg=None)
    model = build_model(Config(dict(model=dict(type='RefocusedBackbone', backbone=backbone))))
    assert {type(layer) for _, layer in named_refconvs(model)} == {RefConv2d}


# -- code that builds layers later and writes kernels into them --------------------------------------------


@pytest.mark.parametrize(('kind', 'options'), [('RepVGG', dict(arch='A0')), ('MobileOne', dict(arch='s0'))])
@pytest.mark.parametrize('when', ['refocused', 'fused', 'through a file'])
def test_switch_to_deploy_keeps_the_function(kind, options, when, tmp_path):
    """mmpretrain's blocks build a layer from their `conv_cfg` and write the sum of their branches into it."""
    importlib.import_module('mmpretrain.models')
    config = dict(type=f'mmpretrain.{kind}', conv_cfg=dict(type='RefConv', kinds=['depthwise', 'dense']), **options)
    torch.manual_seed(0)
    model = MODELS.build(config)
    for module in model.modules():
        if isinstance(module, RefConv2d):
            trained(module)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model.eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)[-1]
        if when == 'fused':
            fuse(model)
        model.switch_to_deploy()
        got = model(x)[-1]
        # Float32 through 22 blocks: 1.6e-6 was seen.
        assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
        if when == 'fused':
            assert not named_refconvs(model)
        if when == 'through a file':  # as mmpretrain's reparameterize_model.py writes it
            deployed = MODELS.build({**config, 'deploy': True})
            load_whole(deployed, copy.deepcopy(model.state_dict()), 'the deployed state')
            deployed.eval()
            assert torch.equal(deployed(x)[-1], got)
            assert {layer.source for _, layer in named_refconvs(deployed)} == {'plain checkpoint'}
