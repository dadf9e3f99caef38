# python tools/train.py configs/cityscapes/deeplabv3plus_mobilenetv2-d8_refconv-paper_cityscapes-512x1024.py --init work_dirs/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024/iter_80000.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './deeplabv3plus_mobilenetv2-d8_control-paper_cityscapes-512x1024.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(
    backbone=dict(conv_cfg=dict(type='RefConv', gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming'))
)
