# python tools/train.py configs/imagenet/repvgg-a0_refconv_imagenet.py --init repvgg-a0.pth
_base_ = ['./repvgg-a0_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
