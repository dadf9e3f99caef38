# python tools/train.py configs/imagenet/efficientnet-b0_refconv-paper_imagenet.py --init efficientnet-b0.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './efficientnet-b0_control_imagenet.py'

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
