# python tools/test.py configs/imagenet/mobilenetv3-small_imagenet.py mobilenetv3-small.pth
_base_ = [
    'mmpretrain::_base_/models/mobilenet_v3/mobilenet_v3_small_imagenet.py',
    'mmpretrain::_base_/datasets/imagenet_bs128_mbv3.py',
    '../_base_/imagenet.py',
]
