# python tools/train.py configs/imagenet/densenet121_refconv-paper_imagenet.py --init densenet121.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './densenet121_control_imagenet.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(
    backbone=dict(
        _delete_=True,
        type='RefocusedBackbone',
        backbone={{_base_.model.backbone}},
        gain=None,
        kinds=['depthwise', 'grouped', 'dense'],
        init='kaiming',
    )
)
