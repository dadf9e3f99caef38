# A segmenter: DeepLabV3+ with MobileNetV2, from the weights of mmseg's model zoo. The training ends with a checkpoint in
# work_dir; what you edit stands in the first part.
_base_ = 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py'

work_dir = 'work_dirs/new/baseline'
# Where the training starts; --init FILE names another checkpoint. mean and std, of RGB images, are those with which
# these weights were trained: these numbers at OpenMMLab and torchvision, 127.5 for all six at Keras and TensorFlow.
load_from = 'https://download.openmmlab.com/mmsegmentation/v0.5/mobilenet_v2/deeplabv3plus_m-v2-d8_512x1024_80k_cityscapes/deeplabv3plus_m-v2-d8_512x1024_80k_cityscapes_20200825_124836-d256dd4b.pth'
about_weights = 'trained on Cityscapes; the training fetches these 61 MB once'
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
data_root = 'data/masks/'
classes = ('class_0', 'class_1')
train_set = dict(type='BaseSegDataset', data_prefix=dict(img_path='images/train', seg_map_path='masks/train'))
val_set = dict(type='BaseSegDataset', data_prefix=dict(img_path='images/val', seg_map_path='masks/val'))
test_set = dict(type='BaseSegDataset', data_prefix=dict(img_path='images/test', seg_map_path='masks/test'))
# Height and width of what the net gets, in training and test.
size = (512, 512)
# Steps of the training, and its learning rate; that of the two runs that follow it.
steps = 600
rate, next_rate = 0.005, 0.005
workers = 2

scale = size[::-1]
every, warmup = max(steps // 5, 1), max(steps // 10, 1)
metainfo = dict(classes=classes)
norm = dict(type='BN')  # SyncBN needs several GPUs
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=size, mean=mean, std=std),
    backbone=dict(norm_cfg=norm),
    decode_head=dict(num_classes=len(classes), norm_cfg=norm),
    auxiliary_head=dict(num_classes=len(classes), norm_cfg=norm),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=workers,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(**train_set, data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
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
val_evaluator = dict(_delete_=True, type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=steps, val_interval=every)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=rate, momentum=0.9, weight_decay=4e-5), clip_grad=None)
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
