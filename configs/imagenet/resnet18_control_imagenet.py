# python tools/train.py configs/imagenet/resnet18_control_imagenet.py --init resnet18.pth
_base_ = './resnet18_imagenet.py'
