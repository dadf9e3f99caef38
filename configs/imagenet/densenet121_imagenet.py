# python tools/test.py configs/imagenet/densenet121_imagenet.py densenet121.pth
_base_ = [
    'mmpretrain::_base_/models/densenet/densenet121.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../_base_/imagenet.py',
]
