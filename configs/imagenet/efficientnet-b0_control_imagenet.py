# python tools/train.py configs/imagenet/efficientnet-b0_control_imagenet.py --init efficientnet-b0.pth
_base_ = './efficientnet-b0_imagenet.py'
