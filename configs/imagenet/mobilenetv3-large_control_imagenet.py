# python tools/train.py configs/imagenet/mobilenetv3-large_control_imagenet.py --init mobilenetv3-large.pth
_base_ = './mobilenetv3-large_imagenet.py'
