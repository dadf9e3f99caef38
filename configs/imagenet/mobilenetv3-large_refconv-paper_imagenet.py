# python tools/train.py configs/imagenet/mobilenetv3-large_refconv-paper_imagenet.py --init mobilenetv3-large.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './mobilenetv3-large_refconv_imagenet.py'

model = dict(backbone=dict(conv_cfg=dict(gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming')))
