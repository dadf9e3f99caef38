# python tools/train.py configs/imagenet/resnet50_refconv_imagenet.py --init resnet50.pth
_base_ = ['./resnet50_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
