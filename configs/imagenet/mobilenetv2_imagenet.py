# python tools/test.py configs/imagenet/mobilenetv2_imagenet.py mobilenetv2.pth
_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py',
    '../_base_/imagenet.py',
]
