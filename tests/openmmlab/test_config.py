import pytest
from mmengine.config import Config

from refconv_mm import RefConvHook
from refconv_mm.checkpoints.fusing import fuse_checkpoint, write_fused
from refconv_mm.openmmlab import RefConv
from refconv_mm.openmmlab.config import drop_pretrained, is_refocused_config, plain_config, without_run
from refconv_mm.openmmlab.models import build_model

REFCONV = dict(type='RefConv', map_k=3, gain=1.0)


def refocused() -> Config:
    return Config(
        dict(
            model=dict(
                type='Net',
                backbone=dict(type='RefocusedBackbone', include=['*'], backbone=dict(type='MiT', conv_cfg=REFCONV)),
                neck=[dict(type='FPN', conv_cfg=dict(type='mmengine.RefConv'))],
                head=dict(type='Head', conv_cfg=dict(type=RefConv), other=(1, dict(conv_cfg=dict(type='DCN')))),
                stem=dict(type='RefConv', in_channels=3, out_channels=4, kernel_size=3, init='zero'),
                same=dict(conv_cfg=dict(type='RefConvAdaptivePadding', map_k=3)),
            ),
            custom_hooks=[dict(type='RefConvHook'), dict(type='EMAHook')],
            default_hooks=dict(refconv=dict(type='RefConvHook'), timer=dict(type='IterTimerHook')),
            custom_imports=dict(imports=['refconv_mm', 'my_ops'], allow_failed_imports=False),
        )
    )


def test_the_plain_config_has_no_trace_of_us():
    cfg = refocused()
    plain = plain_config(cfg)
    assert plain.model.to_dict() == dict(
        type='Net',
        backbone=dict(type='MiT', conv_cfg=None),
        neck=[dict(type='FPN', conv_cfg=None)],
        head=dict(type='Head', conv_cfg=None, other=(1, dict(conv_cfg=dict(type='DCN')))),
        stem=dict(type='Conv2d', in_channels=3, out_channels=4, kernel_size=3),
        same=dict(conv_cfg=dict(type='Conv2dAdaptivePadding')),
    )
    assert plain.custom_hooks == [dict(type='EMAHook')]
    assert plain.default_hooks == dict(timer=dict(type='IterTimerHook'))
    assert plain.custom_imports.imports == ['my_ops']
    assert 'refconv' not in plain.pretty_text.lower()
    assert not is_refocused_config(plain)


def test_hooks_are_ours_by_the_module_of_their_class_and_data_sets_of_ours_are_refused():
    class Mine(RefConvHook):
        __module__ = 'refconv_mm.somewhere'

    class Theirs(RefConvHook):
        pass

    hooks = [dict(type=Mine), dict(type=Theirs), dict(type='RefConvFiniteHook'), dict(type='refconv_mm.hooks.New')]
    kept = plain_config(Config(dict(model=dict(), custom_hooks=hooks))).custom_hooks
    assert [str(hook['type']).rpartition('.')[2] for hook in kept] == ['Theirs']
    data = dict(model=dict(), train_dataloader=dict(dataset=dict(type='refconv_mm.data.SomeDataset')))
    with pytest.raises(ValueError, match='would still need refconv_mm: SomeDataset'):
        plain_config(Config(data))


def test_the_given_config_is_left_as_it_was():
    cfg = refocused()
    plain_config(cfg)
    assert cfg.to_dict() == refocused().to_dict()
    assert is_refocused_config(cfg)


def test_a_lone_import_goes_whole():
    cfg = Config(dict(model=dict(conv_cfg=REFCONV), custom_imports=dict(imports='refconv_mm')))
    assert 'custom_imports' not in plain_config(cfg)


NEW_STYLE = """
from mmengine.config import read_base
from mmengine.hooks import IterTimerHook
from mmpretrain.models import MobileNetV2
from refconv_mm import RefConvHook, build_refocused_backbone
from refconv_mm.openmmlab import RefConv

model = dict(type='mmpretrain.ImageClassifier', neck=dict(type='mmpretrain.GlobalAveragePooling'),
             head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=1280),
             backbone=BACKBONE)
default_hooks = dict(timer=dict(type=IterTimerHook), refconv=dict(type=RefConvHook))
default_scope = 'mmpretrain'
"""


@pytest.mark.parametrize('backbone', [
    'dict(type=MobileNetV2, widen_factor=0.25, conv_cfg=dict(type=RefConv, gain=1.0))',
    'dict(type=build_refocused_backbone, backbone=dict(type=MobileNetV2, widen_factor=0.25))',
])  # fmt: skip
def test_new_style_configs_fuse_to_files_that_load(backbone, tmp_path):
    (tmp_path / 'new.py').write_text(NEW_STYLE.replace('BACKBONE', backbone))
    cfg = Config.fromfile(tmp_path / 'new.py')
    assert is_refocused_config(cfg)
    fused = fuse_checkpoint(cfg, dict(state_dict=build_model(cfg).state_dict(), meta={}))
    _, path = write_fused(fused, tmp_path)
    assert 'refconv' not in path.read_text().lower()
    build_model(Config.fromfile(path)).load_state_dict(fused.checkpoint['state_dict'])


def test_what_the_builder_was_handed_goes_to_the_backbone():
    builder = dict(type='RefocusedBackbone', backbone=dict(type='MiT'), pretrained='x', init_cfg=None)
    assert plain_config(Config(dict(model=builder))).model.to_dict() == dict(type='MiT', pretrained='x')


def test_what_belongs_to_one_run_is_dropped():
    cfg = Config(dict(model=dict(pretrained='x'), launcher='pytorch', load_from='a.pth', resume=True, work_dir='w',
                      model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)))  # fmt: skip
    assert without_run(cfg).to_dict() == dict(
        model=dict(pretrained=None), launcher='none', load_from=None, resume=False
    )
    own = dict(type='MMFullyShardedDataParallel')
    assert without_run(Config(dict(model={}, model_wrapper_cfg=own))).model_wrapper_cfg == own


def test_a_plain_config_stays_as_it_is():
    cfg = Config(dict(model=dict(type='Net', conv_cfg=dict(type='Conv2d')), train_cfg=dict(max_epochs=3)))
    assert plain_config(cfg).to_dict() == cfg.to_dict()
    assert not is_refocused_config(cfg)


def test_pretrained_initialisation_is_dropped_wherever_it_stands():
    pretrained = dict(type='Pretrained', checkpoint='open-mmlab://x')
    model = dict(
        pretrained='torchvision://y',
        backbone=dict(init_cfg=pretrained, parts=[dict(init_cfg=[pretrained, dict(type='Xavier')])]),
        timm=dict(pretrained=True),
        head=dict(init_cfg=dict(type='Normal', layer='Conv2d', std=0.01)),
    )
    drop_pretrained(model)
    assert model['pretrained'] is None
    assert model['backbone'] == dict(init_cfg=None, parts=[dict(init_cfg=[dict(type='Xavier')])])
    assert model['timm'] == dict(pretrained=False)
    assert model['head']['init_cfg']['type'] == 'Normal'
