# python tools/train.py configs/imagenet/mobilenetv2_refconv_imagenet.py --init mobilenetv2.pth
_base_ = './mobilenetv2_control_imagenet.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
