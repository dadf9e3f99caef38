# make demo   (or: python tools/train.py configs/demo/deeplabv3plus_mobilenetv2-d8_demo.py, after make demo)
#
# A narrow DeepLabV3+ at 96x192 on drawn streets in the Cityscapes layout, from scratch.
_base_ = '../cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py'

data_root = 'work_dirs/demo/data/cityscapes/'
size = (96, 192)
norm_cfg = dict(type='BN', momentum=0.1)

model = dict(
    pretrained=None,
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=size),
    backbone=dict(widen_factor=0.5, norm_cfg=dict(_delete_=True, **norm_cfg)),
    decode_head=dict(
        in_channels=160, c1_in_channels=16, c1_channels=24, channels=64, norm_cfg=dict(_delete_=True, **norm_cfg)
    ),
    auxiliary_head=dict(in_channels=48, channels=32, norm_cfg=dict(_delete_=True, **norm_cfg)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(192, 96), ratio_range=(0.8, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

train_cfg = dict(max_iters=120, val_interval=10000)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=120, by_epoch=False)]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=10000))
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
