# python tools/train.py configs/imagenet/mobilevit-small_control_imagenet.py --init mobilevit-small.pth
_base_ = './mobilevit-small_imagenet.py'
