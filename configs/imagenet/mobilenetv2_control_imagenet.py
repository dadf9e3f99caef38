# python tools/train.py configs/imagenet/mobilenetv2_control_imagenet.py --init mobilenetv2.pth
_base_ = './mobilenetv2_imagenet.py'
