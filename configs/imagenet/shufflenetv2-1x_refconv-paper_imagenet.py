# python tools/train.py configs/imagenet/shufflenetv2-1x_refconv-paper_imagenet.py --init shufflenetv2-1x.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './shufflenetv2-1x_refconv_imagenet.py'

model = dict(backbone=dict(conv_cfg=dict(gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming')))
