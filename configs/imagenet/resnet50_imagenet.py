# python tools/test.py configs/imagenet/resnet50_imagenet.py resnet50.pth
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/imagenet.py',
]
