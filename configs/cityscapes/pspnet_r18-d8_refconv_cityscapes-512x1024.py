# python tools/train.py configs/cityscapes/pspnet_r18-d8_refconv_cityscapes-512x1024.py --init work_dirs/pspnet_r18-d8_cityscapes-512x1024/iter_80000.pth
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = ['./pspnet_r18-d8_control_cityscapes-512x1024.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv', gain=1.0)))
