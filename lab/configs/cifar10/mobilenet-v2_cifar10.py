# python tools/train.py lab/configs/cifar10/mobilenet-v2_cifar10.py
#
# The baseline: MobileNetV2 with a stem of stride 1 on CIFAR-10 as folders of images, from scratch.
# Of train/, every fifth image is the validation split; val/ is the test split.
_base_ = ['mmpretrain::_base_/models/mobilenet_v2_1x.py', 'mmpretrain::_base_/default_runtime.py']

custom_imports = dict(imports=['refconv_mm', 'lab.nets.small_image_backbone'], allow_failed_imports=False)
data_root = 'data/cifar10/'  # the line to edit: a folder with train/ and val/, a folder a class in each

model = dict(
    backbone=dict(
        _delete_=True,
        type='LabSmallImageBackbone',
        backbone=dict(type='MobileNetV2', norm_cfg=dict(type='BN', momentum=0.1)),
        stride1=['conv1.conv'],
    ),
    head=dict(num_classes=10, topk=(1,)),
)
# Of the files as they are; the images are read as BGR.
data_preprocessor = dict(num_classes=10, mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
images = 10000  # in train/; 50000 for the whole of CIFAR-10
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        with_label=True,
        indices=[i for i in range(images) if i % 5 != 4],
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        with_label=True,
        indices=list(range(4, images, 5)),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='val', with_label=True, pipeline=test_pipeline),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=5)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=125),
    dict(type='CosineAnnealingLR', begin=0, T_max=20, end=20, by_epoch=True, eta_min=0),
]
auto_scale_lr = dict(base_batch_size=64)
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
