# python tools/train.py configs/own/ssdlite_mobilenetv2_refconv_own.py --init work_dirs/ssdlite_mobilenetv2_own/epoch_20.pth
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './ssdlite_mobilenetv2_control_own.py'

custom_imports = dict(imports=['refconv_mm', 'refconv_mm.data.layouts'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
