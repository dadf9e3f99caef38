# python tools/train.py configs/imagenet/mobilevit-small_refconv-paper_imagenet.py --init mobilevit-small.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './mobilevit-small_control_imagenet.py'

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
