# python tools/train.py configs/voc/ssdlite_mobilenetv2_refconv-from-imagenet_voc0712.py
#
# Refocuses the ImageNet kernels while the task is learnt; its control is the baseline.
_base_ = './ssdlite_mobilenetv2_voc0712.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(
    refconv=dict(type='RefConvHook'),
    start=dict(type='RefConvStartHook', random_parts=['neck', 'bbox_head']),  # the task is learnt from there
)
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
