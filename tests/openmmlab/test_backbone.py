import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

from refconv_mm import fuse
from refconv_mm.openmmlab.config import plain_config, without_run
from refconv_mm.openmmlab.models import build_model, load_whole
from refconv_mm.surgery import named_refconvs

MIT = dict(
    type='mmseg.MixVisionTransformer', embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], out_indices=(3,)
)


def test_a_backbone_without_conv_cfg_is_refocused_without_a_prefix():
    plain = MODELS.build(MIT)
    backbone = MODELS.build(dict(type='RefocusedBackbone', backbone=MIT, kinds=('depthwise',)))
    names = [name for name, _ in named_refconvs(backbone)]
    assert len(names) == 4
    assert type(backbone) is type(plain)
    assert set(plain.state_dict()) <= set(backbone.state_dict())
    assert all(layer.source is None for _, layer in named_refconvs(backbone))
    backbone.load_state_dict(plain.state_dict())
    assert all(layer.source == 'plain checkpoint' for _, layer in named_refconvs(backbone))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(plain.eval()(x)[0], backbone.eval()(x)[0])
    fuse(backbone)
    assert set(backbone.state_dict()) == set(plain.state_dict())


def test_an_unscoped_type_is_found_in_the_scope_in_force():
    with DefaultScope.overwrite_default_scope('mmdet'):
        __import__('mmdet.models')
        from mmdet.registry import MODELS as MMDET

        backbone = MMDET.build(dict(type='RefocusedBackbone', backbone=dict(type='MobileNetV2'), include=['layer?.*']))
    assert type(backbone).__module__.startswith('mmdet')
    assert len(named_refconvs(backbone)) == 17


def test_a_neck_can_stand_in_the_builder_too():
    neck = dict(
        type='RefocusedBackbone',
        kinds='dense',
        backbone=dict(type='FPN', in_channels=[2, 4], out_channels=8, num_outs=2),
    )
    head = dict(type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8)
    backbone = dict(
        type='ResNet', depth=18, base_channels=2, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)
    )
    cfg = Config(
        dict(default_scope='mmdet', model=dict(type='RetinaNet', backbone=backbone, neck=neck, bbox_head=head))
    )
    __import__('mmdet.models')
    model = build_model(cfg)
    names = [name for name, _ in named_refconvs(model)]
    assert names == ['neck.fpn_convs.0.conv', 'neck.fpn_convs.1.conv']
    fuse(model)
    assert plain_config(cfg).model.neck.type == 'FPN'
    load_whole(build_model(plain_config(cfg)), model.state_dict(), 'the fused state')


def test_a_segmentor_may_write_pretrained_into_the_builder_s_config(tmp_path):
    __import__('mmseg.models')
    backbone = dict(type='RefocusedBackbone', backbone=MIT, kinds=('depthwise',))
    head = dict(type='FCNHead', in_channels=8, in_index=0, channels=8, num_classes=3)
    weights = MODELS.build(MIT).state_dict()
    torch.save(weights, tmp_path / 'mit.pth')
    cfg = dict(type='EncoderDecoder', pretrained=str(tmp_path / 'mit.pth'), backbone=backbone, decode_head=head)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(ConfigDict(cfg, type='mmseg.EncoderDecoder'))
        model.init_weights()
    for name, layer in named_refconvs(model.backbone):
        assert layer.source == 'plain checkpoint'
        assert torch.equal(layer.basis, weights[f'{name}.weight'])


@pytest.mark.parametrize(('changes', 'error', 'match'), [
    (dict(backbone='resnet'), TypeError, 'backbone'),
    (dict(backbone=MIT, include='head.*'), ValueError, 'head'),
    (dict(backbone=MIT, map_k=2), ValueError, 'map_k'),
    (dict(backbone=MIT, include=4), TypeError, 'include'),
])  # fmt: skip
def test_bad_configs_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        MODELS.build(dict(type='RefocusedBackbone', **changes))


def test_a_backbone_that_its_constructor_fills_is_loaded(tmp_path):
    """timm's `checkpoint_path` and `pretrained=True`; fused.py must not keep the path of a file that others lack."""
    __import__('mmpretrain.models')
    timm = __import__('timm')
    weights = timm.create_model('mobilenetv3_small_050').state_dict()
    torch.save(weights, tmp_path / 'weights.pth')
    config = dict(type='mmpretrain.TIMMBackbone', model_name='mobilenetv3_small_050')
    config['checkpoint_path'] = str(tmp_path / 'weights.pth')
    backbone = MODELS.build(dict(type='RefocusedBackbone', backbone=config))
    layers = named_refconvs(backbone)
    assert layers
    for name, layer in layers:
        assert layer.source == 'model'
        assert torch.equal(layer.basis, weights[name.removeprefix('timm_model.') + '.weight'])
    empty = MODELS.build(dict(type='RefocusedBackbone', backbone={**config, 'checkpoint_path': ''}))
    assert {layer.source for _, layer in named_refconvs(empty)} == {None}
    model = dict(backbone=dict(type='RefocusedBackbone', backbone=config))
    assert str(tmp_path) not in without_run(plain_config(Config(dict(model=model)))).pretty_text
