# python tools/train.py configs/voc/retinanet_r50_refconv_voc0712.py --init work_dirs/retinanet_r50_voc0712/epoch_4.pth
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './retinanet_r50_control_voc0712.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv', gain=1.0)))
