# python tools/train.py configs/voc/ssd300_mobilenetv2_refconv_voc0712.py --init work_dirs/ssd300_mobilenetv2_voc0712/epoch_24.pth
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './ssd300_mobilenetv2_control_voc0712.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
