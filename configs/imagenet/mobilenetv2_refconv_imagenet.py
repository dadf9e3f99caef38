# python tools/train.py configs/imagenet/mobilenetv2_refconv_imagenet.py --init mobilenetv2.pth
_base_ = ['./mobilenetv2_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
