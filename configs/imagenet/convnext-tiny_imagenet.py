# python tools/test.py configs/imagenet/convnext-tiny_imagenet.py convnext-tiny.pth
_base_ = [
    'mmpretrain::_base_/models/convnext/convnext-tiny.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/imagenet.py',
]
