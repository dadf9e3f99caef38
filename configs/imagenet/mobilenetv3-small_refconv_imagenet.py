# python tools/train.py configs/imagenet/mobilenetv3-small_refconv_imagenet.py --init mobilenetv3-small.pth
_base_ = ['./mobilenetv3-small_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
