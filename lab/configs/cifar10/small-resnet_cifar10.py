# python tools/train.py lab/configs/cifar10/small-resnet_cifar10.py
#
# A baseline of dense layers for whole schedules on a CPU: a ResNet-18 of an eighth of the width (176,000 parameters)
# and of half the resolution behind its stem, as fast as the small MobileNet.
_base_ = './small-mobilenet_cifar10.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet_CIFAR',
        depth=18,
        stem_channels=8,
        base_channels=8,
        strides=(2, 2, 2, 2),
        out_indices=(3,),
        style='pytorch',
    ),
    head=dict(in_channels=64),
)
