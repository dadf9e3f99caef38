# python tools/train.py configs/imagenet/resnet50_refconv-paper_imagenet.py --init resnet50.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './resnet50_control_imagenet.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(
    backbone=dict(conv_cfg=dict(type='RefConv', gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming'))
)
