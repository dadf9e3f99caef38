"""The texts of the configs that `refconv new` writes; :mod:`refconv_mm.data.new` fills them in."""

# The configs of the libraries, whose metafiles name the weights; on which data these were trained, and their size.
BASES = {
    'detection': 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    'segmentation': 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py',
    'classification': 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
}
WEIGHTS = {'detection': 'COCO, 17 MB', 'segmentation': 'Cityscapes, 61 MB', 'classification': 'ImageNet, 14 MB'}
# What the tasks change in them.
NETS = {
    'detection': """# The anchors of 320 pixels, at this size.
edges = [round(edge * size[0] / 320) for edge in (48, 100, 150, 202, 253, 304, 320)]
strides = [round(size[0] / -(-size[0] // 2**level)) for level in range(4, 10)]
model = dict(
    data_preprocessor=dict(mean=mean, std=std),{backbone}
    bbox_head=dict(
        num_classes=len(classes),
        anchor_generator=dict(strides=strides, min_sizes=edges[:-1], max_sizes=edges[1:]),
    ),
)""",
    'segmentation': """norm = dict(type='BN')  # SyncBN needs several GPUs
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=size, mean=mean, std=std),
    backbone=dict(norm_cfg=norm),
    decode_head=dict(num_classes=len(classes), norm_cfg=norm),
    auxiliary_head=dict(num_classes=len(classes), norm_cfg=norm),
)""",
    'classification': """model = dict(head=dict(num_classes=len(classes), topk=(1,)))
data_preprocessor = dict(num_classes=len(classes), mean=mean, std=std)
val_cfg, test_cfg = dict(type='ValLoop'), dict(type='TestLoop')""",
}
# mmdet's own MobileNetV2 has other names than ImageNet weights.
IMAGENET_BACKBONE = (
    "\n    backbone=dict(type='mmpretrain.MobileNetV2', norm_cfg=dict(eps=1e-5)),  # as ImageNet weights have it"
)
# And in the transforms of their pipelines, beside the size of the images.
CHANGES: dict[str, dict] = {
    'Expand': dict(ratio_range=(1, 2), prob=0.3),
    'MinIoURandomCrop': dict(min_ious=(0.3, 0.5, 0.7, 0.9)),
    'RandomResize': dict(ratio_range=(0.75, 2.0)),
    'RandomResizedCrop': dict(crop_ratio_range=(0.3, 1.0)),
}
METRICS = {
    'detection': "type='VOCMetric', metric='mAP', eval_mode='area', iou_thrs=[0.5, 0.75]",
    'segmentation': "type='IoUMetric', iou_metrics=['mIoU']",
    'classification': "type='Accuracy', topk=(1,)",
}
LOADER = """{split}_dataloader = dict(
    _delete_=True,
    batch_size={batch},
    num_workers={workers},
    persistent_workers=True,
    sampler=dict(type='{sampler}Sampler', shuffle={shuffle}),
    dataset=dict({set}, data_root=data_root, metainfo=metainfo, pipeline={pipeline}_pipeline),
)
"""

FILES = {
    'baseline.py': """# refconv train {here}/baseline.py
#
# {found}
_base_ = {base!r}

work_dir = {runs[baseline]!r}
# Where the training starts; --init FILE names another checkpoint. mean and std, of RGB images, are those with which
# these weights were trained: these numbers at OpenMMLab and torchvision, 127.5 for all six at Keras and TensorFlow.
load_from = {weights!r}
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
data_root = {root!r}
classes = {classes!r}
metainfo = dict(classes=classes)
size = {size!r}  # height and width of what the net gets, in training and test
scale = size[::-1]
steps = {steps}
every, warmup = max(steps // 5, 1), max(steps // 10, 1)
{net}
{pipelines}
{loaders}
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=steps, val_interval=every)
optim_wrapper = dict(optimizer=dict(type='SGD', lr={rate:g}, momentum=0.9, weight_decay=4e-5), clip_grad={clip})
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
""",
    'control.py': """# refconv train {here}/control.py
#
# The control: goes on from the trained baseline for as long as the refocused run does, without RefConv. Only against it
# can you see what refocusing is worth.
_base_ = './baseline.py'

work_dir = {runs[control]!r}
load_from = _base_.work_dir + f'/iter_{{_base_.steps}}.pth'
steps = _base_.steps // 3
every, warmup = max(steps // 5, 1), max(steps // 10, 1)
train_cfg = dict(max_iters=steps, val_interval=every)
optim_wrapper = dict(optimizer=dict(lr={tuned:g}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=steps, T_max=steps - warmup),
]
default_hooks = dict(checkpoint=dict(interval=every))
""",
    'refocused.py': """# refconv train {here}/refocused.py
# refconv test {here}/runs/refocused/fused.py {here}/runs/refocused/fused.pth    (the training has fused it)
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './control.py'

work_dir = {runs[refocused]!r}
custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
""",
}
