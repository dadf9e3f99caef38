# python tools/train.py configs/imagenet/resnet50_control_imagenet.py --init resnet50.pth
_base_ = './resnet50_imagenet.py'
