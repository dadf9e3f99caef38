# python tools/test.py configs/imagenet/mobilevit-small_imagenet.py mobilevit-small.pth
_base_ = [
    'mmpretrain::_base_/models/mobilevit/mobilevit_s.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/imagenet.py',
]

# As mmpretrain's config: the checkpoint takes BGR between 0 and 1, at 256.
data_preprocessor = dict(mean=[0, 0, 0], std=[255, 255, 255], to_rgb=False)
size = 256
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=size),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=size + 32, edge='short'),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
