# python tools/train.py configs/imagenet/mobilevit-small_refconv-paper_imagenet.py --init mobilevit-small.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './mobilevit-small_refconv_imagenet.py'

model = dict(backbone=dict(gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming'))
