# python tools/train.py configs/imagenet/repvgg-a0_control_imagenet.py --init repvgg-a0.pth
_base_ = './repvgg-a0_imagenet.py'
