# python tools/train.py configs/imagenet/densenet121_control_imagenet.py --init densenet121.pth
_base_ = './densenet121_imagenet.py'
