# python tools/train.py configs/imagenet/convnext-tiny_refconv-paper_imagenet.py --init convnext-tiny.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './convnext-tiny_refconv_imagenet.py'

model = dict(backbone=dict(gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming'))
