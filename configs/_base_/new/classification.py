# A classifier: MobileNetV2, from the weights of mmpretrain's model zoo. The training ends with a checkpoint in work_dir;
# what you edit stands in the first part.
_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'

work_dir = 'work_dirs/new/baseline'
# Where the training starts; --init FILE names another checkpoint. mean and std, of RGB images, are those with which
# these weights were trained: these numbers at OpenMMLab and torchvision, 127.5 for all six at Keras and TensorFlow.
load_from = 'https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth'
about_weights = 'trained on ImageNet; the training fetches these 14 MB once'
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
data_root = 'data/classes/'
classes = ('class_0', 'class_1')
train_set = dict(type='CustomDataset', data_prefix='train', with_label=True)
val_set = dict(type='CustomDataset', data_prefix='val', with_label=True)
test_set = dict(type='CustomDataset', data_prefix='test', with_label=True)
# Height and width of what the net gets, in training and test.
size = (224, 224)
# Steps of the training, and its learning rate; that of the two runs that follow it.
steps = 600
rate, next_rate = 0.2, 0.04
workers = 2

every, warmup = max(steps // 5, 1), max(steps // 10, 1)
metainfo = dict(classes=classes)
model = dict(head=dict(num_classes=len(classes), topk=(1,)))
data_preprocessor = dict(num_classes=len(classes), mean=mean, std=std)
val_cfg, test_cfg = dict(type='ValLoop'), dict(type='TestLoop')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=size[0], crop_ratio_range=(0.3, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=size[0], edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=32,
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
val_evaluator = dict(_delete_=True, type='Accuracy', topk=(1,))
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
