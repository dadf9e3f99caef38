# python tools/train.py configs/cityscapes/deeplabv3plus_mobilenetv2-d8_refconv-from-imagenet_cityscapes-512x1024.py
#
# Refocuses the ImageNet kernels while the task is learnt; its control is the baseline.
_base_ = './deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(
    refconv=dict(type='RefConvHook'),
    start=dict(
        type='RefConvStartHook', random_parts=['decode_head', 'auxiliary_head']
    ),  # the task is learnt from there
)
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
