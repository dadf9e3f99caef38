# python tools/train.py configs/camvid/deeplabv3plus_mobilenetv2-d8_camvid-240x320.py --init mobilenet_v2_imagenet.pth
#
# A data set of one's own in the Cityscapes layout: CamVid street scenes at 320x240 with Cityscapes train ids, on a CPU.
# Against the Cityscapes config: data root, schedule, batch, image size and the normalisation of the weights.
_base_ = '../cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py'

data_root = 'data/camvid/'  # the line to edit: a folder with leftImg8bit/ and gtFine/
size = (240, 320)  # height and width of the images
crop_size = (160, 224)  # for training, so that two cores can bear it

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=crop_size),
    backbone=dict(norm_cfg=dict(type='BN')),
    decode_head=dict(norm_cfg=dict(type='BN')),
    auxiliary_head=dict(norm_cfg=dict(type='BN')),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=size[::-1], ratio_range=(0.7, 1.2), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size[::-1], keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=240, val_interval=240)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=240, by_epoch=False)]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=240, max_keep_ckpts=2))
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
