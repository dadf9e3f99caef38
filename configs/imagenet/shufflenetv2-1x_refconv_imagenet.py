# python tools/train.py configs/imagenet/shufflenetv2-1x_refconv_imagenet.py --init shufflenetv2-1x.pth
_base_ = ['./shufflenetv2-1x_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
