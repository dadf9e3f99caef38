# python tools/train.py configs/imagenet/mobilenetv3-large_refconv_imagenet.py --init mobilenetv3-large.pth
_base_ = ['./mobilenetv3-large_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
