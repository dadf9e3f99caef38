# python tools/train.py configs/camvid/deeplabv3plus_mobilenetv2-d8_refconv_camvid-240x320.py --init work_dirs/deeplabv3plus_mobilenetv2-d8_camvid-240x320/iter_240.pth
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './deeplabv3plus_mobilenetv2-d8_control_camvid-240x320.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
