# python tools/train.py lab/configs/cifar10/resnet18_cifar10.py
#
# The baseline: ResNet-18 with the 3x3 stem for small images (mmpretrain's ResNet_CIFAR), from scratch.
_base_ = './mobilenet-v2_cifar10.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet_CIFAR', depth=18, num_stages=4, out_indices=(3,), style='pytorch'),
    head=dict(in_channels=512),
)
