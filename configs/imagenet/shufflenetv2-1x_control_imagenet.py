# python tools/train.py configs/imagenet/shufflenetv2-1x_control_imagenet.py --init shufflenetv2-1x.pth
_base_ = './shufflenetv2-1x_imagenet.py'
