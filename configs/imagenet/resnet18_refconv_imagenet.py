# python tools/train.py configs/imagenet/resnet18_refconv_imagenet.py --init resnet18.pth
_base_ = ['./resnet18_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
