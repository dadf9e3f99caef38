# A detector: SSDLite with MobileNetV2, from the weights of mmdet's model zoo. The training ends with a checkpoint in
# work_dir; what you edit stands in the first part.
_base_ = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'

work_dir = 'work_dirs/new/baseline'
# Where the training starts; --init FILE names another checkpoint. mean and std, of RGB images, are those with which
# these weights were trained: these numbers at OpenMMLab and torchvision, 127.5 for all six at Keras and TensorFlow.
load_from = 'https://download.openmmlab.com/mmdetection/v2.0/ssd/ssdlite_mobilenetv2_scratch_600e_coco/ssdlite_mobilenetv2_scratch_600e_coco_20210629_110627-974d9307.pth'
about_weights = 'trained on COCO; the training fetches these 17 MB once'
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# ImageNet weights have the names and the norm of dict(type='mmpretrain.MobileNetV2', norm_cfg=dict(eps=1e-5)).
backbone = dict()
data_root = 'data/VOCdevkit/VOC2007/'
classes = ('class_0', 'class_1')
train_set = dict(type='VOCDataset', ann_file='ImageSets/Main/train.txt', data_prefix=dict(sub_data_root=''))
val_set = dict(type='VOCDataset', ann_file='ImageSets/Main/val.txt', data_prefix=dict(sub_data_root=''))
test_set = dict(type='VOCDataset', ann_file='ImageSets/Main/test.txt', data_prefix=dict(sub_data_root=''))
val_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP', eval_mode='area', iou_thrs=[0.5, 0.75])
test_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP', eval_mode='area', iou_thrs=[0.5, 0.75])
# Height and width of what the net gets, in training and test.
size = (320, 320)
# Steps of the training, and its learning rate; that of the two runs that follow it.
steps = 1200
rate, next_rate = 0.02, 0.005
workers = 2

scale = size[::-1]
every, warmup = max(steps // 5, 1), max(steps // 10, 1)
metainfo = dict(classes=classes)
# The anchors of 320 pixels, at this size.
edges = [round(edge * size[0] / 320) for edge in (48, 100, 150, 202, 253, 304, 320)]
strides = [round(size[0] / -(-size[0] // 2**level)) for level in range(4, 10)]
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=backbone,
    bbox_head=dict(
        num_classes=len(classes),
        anchor_generator=dict(strides=strides, min_sizes=edges[:-1], max_sizes=edges[1:]),
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Expand', mean=mean, to_rgb=True, ratio_range=(1, 2), prob=0.3),
    dict(type='MinIoURandomCrop', min_ious=(0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=8,
    num_workers=workers,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **train_set,
        data_root=data_root,
        metainfo=metainfo,
        # Boxes of no size would turn the loss into NaN; an image without a box trains nothing.
        filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=1),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**val_set, data_root=data_root, metainfo=metainfo, test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader | dict(
    dataset=dict(**test_set, data_root=data_root, metainfo=metainfo, test_mode=True, pipeline=test_pipeline),
)

train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=steps, val_interval=every)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=rate, momentum=0.9, weight_decay=4e-5),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=steps, T_max=steps - warmup),
]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=every, max_keep_ckpts=2),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
