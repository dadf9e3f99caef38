# make demo   (or: python tools/train.py configs/demo/ssdlite_mobilenetv2_demo.py, after make demo has made the data)
#
# A narrow SSDLite at 160 on drawn shapes in the VOC layout, from scratch.
_base_ = '../voc/ssdlite_mobilenetv2_voc0712.py'

data_root = 'work_dirs/demo/data/voc/'
metainfo = dict(classes=('disc', 'square', 'triangle'), palette=[(220, 20, 60), (0, 80, 220), (0, 160, 60)])
input_size = 160
size = (input_size, input_size)

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(widen_factor=0.5, norm_cfg=dict(momentum=0.1), init_cfg=None),
    neck=dict(
        in_channels=(48, 1280),
        out_channels=(48, 1280, 128),
        level_strides=(2,),
        level_paddings=(1,),
        norm_cfg=dict(momentum=0.1),
    ),
    bbox_head=dict(
        in_channels=(48, 1280, 128),
        num_classes=len(metainfo['classes']),
        norm_cfg=dict(momentum=0.1),
        # An object has a side of 40 to 80, so about nine anchors match it; with few matches, training does not converge.
        anchor_generator=dict(
            strides=[16, 32, 54], ratios=[[2], [2], [2]], min_sizes=[48, 72, 90], max_sizes=[72, 90, 100]
        ),
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='VOCDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=1),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=300, val_interval=10000)
optim_wrapper = dict(optimizer=dict(lr=0.04))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', T_max=300, end=300, by_epoch=False),
]
log_processor = dict(by_epoch=False)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=10000))
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
