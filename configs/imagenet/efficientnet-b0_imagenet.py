# python tools/test.py configs/imagenet/efficientnet-b0_imagenet.py efficientnet-b0.pth
_base_ = [
    'mmpretrain::_base_/models/efficientnet_b0.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/imagenet.py',
]

# As mmpretrain's config: crops of the checkpoint's training.
size = 224
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='EfficientNetRandomCrop', scale=size),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='EfficientNetCenterCrop', crop_size=size),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
