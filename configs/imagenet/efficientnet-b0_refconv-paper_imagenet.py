# python tools/train.py configs/imagenet/efficientnet-b0_refconv-paper_imagenet.py --init efficientnet-b0.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './efficientnet-b0_refconv_imagenet.py'

model = dict(backbone=dict(gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming'))
