# python tools/train.py configs/imagenet/convnext-tiny_control_imagenet.py --init convnext-tiny.pth
_base_ = './convnext-tiny_imagenet.py'
