# python tools/test.py configs/imagenet/resnet18_imagenet.py resnet18.pth
_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/imagenet.py',
]
