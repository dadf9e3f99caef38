# python tools/train.py lab/configs/cifar10/small-mobilenet_cifar10.py
#
# The baseline of whole schedules on a CPU: a net of 35,000 parameters on CIFAR-10's 50,000 training images, a folder a
# class, from scratch. Every fifth image is the test split; CIFAR-10's own test images are not used.
_base_ = ['mmpretrain::_base_/default_runtime.py']

custom_imports = dict(imports=['refconv_mm', 'lab.nets.small_images'], allow_failed_imports=False)
data_root = 'data/cifar10_full/'  # the line to edit: a folder with train/, a folder a class in it

model = dict(
    type='ImageClassifier',
    backbone=dict(type='LabSmallMobileNet'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=160, loss=dict(type='CrossEntropyLoss'), topk=(1,)),
)
# Of the files as they are; the images are read as BGR.
data_preprocessor = dict(num_classes=10, mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=True)
dataset = dict(type='CustomDataset', data_root=data_root, data_prefix='train', with_label=True)
load = [dict(type='LabLoadImageOnce')]
pack = [dict(type='PackInputs')]
augment = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='LabEveryFifth', held_out=False, dataset=dict(**dataset, pipeline=[*load, *augment, *pack])),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='LabEveryFifth', held_out=True, dataset=dict(**dataset, pipeline=[*load, *pack])),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=10)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=4e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=312),
    dict(type='CosineAnnealingLR', begin=312, T_max=2808, end=3120, by_epoch=False, eta_min=0),
]
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
