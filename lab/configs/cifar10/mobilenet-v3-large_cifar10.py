# python tools/train.py lab/configs/cifar10/mobilenet-v3-large_cifar10.py
#
# The baseline: MobileNetV3-large with a stem of stride 1, from scratch. Six of its kernels are 5x5.
_base_ = './mobilenet-v2_cifar10.py'

model = dict(
    backbone=dict(
        backbone=dict(
            _delete_=True, type='MobileNetV3', arch='large', norm_cfg=dict(type='BN', eps=1e-3, momentum=0.1)
        ),
        stride1=['layer0.conv'],
    ),
    head=dict(
        _delete_=True,
        type='StackedLinearClsHead',
        num_classes=10,
        in_channels=960,
        mid_channels=[1280],
        dropout_rate=0.2,
        act_cfg=dict(type='HSwish'),
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1,),
    ),
)
