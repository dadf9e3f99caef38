# python tools/test.py configs/imagenet/shufflenetv2-1x_imagenet.py shufflenetv2-1x.pth
_base_ = [
    'mmpretrain::_base_/models/shufflenet_v2_1x.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_pil_resize.py',
    '../_base_/imagenet.py',
]
