# python tools/test.py configs/imagenet/repvgg-a0_imagenet.py repvgg-a0.pth
_base_ = [
    'mmpretrain::_base_/models/repvgg-A0_in1k.py',
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py',
    '../_base_/imagenet.py',
]
