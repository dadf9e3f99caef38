# python tools/train.py configs/imagenet/mobilenetv3-small_control_imagenet.py --init mobilenetv3-small.pth
_base_ = './mobilenetv3-small_imagenet.py'
