# python tools/train.py lab/configs/cifar10/shufflenet-v2-1x_cifar10.py
#
# The baseline: ShuffleNetV2 1.0x with a stem of stride 1 and without its max pool, from scratch.
_base_ = './mobilenet-v2_cifar10.py'

model = dict(
    backbone=dict(
        backbone=dict(_delete_=True, type='ShuffleNetV2', widen_factor=1.0),
        stride1=['conv1.conv'],
        without=['maxpool'],
    ),
    head=dict(in_channels=1024),
)
