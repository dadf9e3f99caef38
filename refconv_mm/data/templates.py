"""The texts of the configs that `refconv new` writes; :mod:`refconv_mm.data.new` fills them in."""

BASES = {
    'detection': 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    'segmentation': 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py',
    'classification': 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
}
# What the tasks change in them.
NETS = {
    'detection': """model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(  # mmdet's own MobileNetV2 has other keys than the weights
        type='mmpretrain.MobileNetV2',
        norm_cfg=dict(eps=1e-5),
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    # The anchors belong to the size. For another one: refconv new --size SIDE.
    bbox_head=dict(num_classes={count}, anchor_generator=dict({anchors})),
)""",
    'segmentation': """norm = dict(type='BN')  # SyncBN needs several GPUs
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=size, mean=mean, std=std),
    backbone=dict(norm_cfg=norm, init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2')),
    decode_head=dict(num_classes={count}, norm_cfg=norm),
    auxiliary_head=dict(num_classes={count}, norm_cfg=norm),
)""",
    'classification': """weights = dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2')
model = dict(backbone=dict(init_cfg=weights), head=dict(num_classes={count}, topk=(1,)))
data_preprocessor = dict(num_classes={count}, mean=mean, std=std)
val_cfg, test_cfg = dict(type='ValLoop'), dict(type='TestLoop')""",
}
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
# The baseline, from ImageNet weights, which mmengine downloads. With weights of your own, whose mean and std go below:
#     refconv train {here}/baseline.py --init WEIGHTS.pth
# {found}
_base_ = {base!r}

work_dir = {runs[baseline]!r}
data_root = {root!r}
metainfo = dict(classes={classes!r})
size = {size!r}  # height and width of what the net gets; the images have {median}
scale = size[::-1]
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of RGB images, as the weights want them
{net}
{pipelines}
{loaders}
steps = {steps}
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=steps, val_interval=steps // 5)
optim_wrapper = dict(optimizer=dict(type='SGD', lr={rate:g}, momentum=0.9, weight_decay=4e-5), clip_grad={clip})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=steps // 10),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=steps // 10, end=steps, T_max=steps - steps // 10),
]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=steps // 5, max_keep_ckpts=2),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
""",
    'control.py': """# refconv train {here}/control.py --init {here}/runs/baseline/iter_{steps}.pth
#
# The control: goes on from the baseline for as long as the refocused run does, without RefConv. Only against it can you
# see what refocusing is worth.
_base_ = './baseline.py'

work_dir = {runs[control]!r}
steps = {more}
train_cfg = dict(max_iters=steps, val_interval=steps // 5)
optim_wrapper = dict(optimizer=dict(lr={tuned:g}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=steps // 10),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=steps // 10, end=steps, T_max=steps - steps // 10),
]
default_hooks = dict(checkpoint=dict(interval=steps // 5))
""",
    'refocused.py': """# refconv train {here}/refocused.py --init {here}/runs/baseline/iter_{steps}.pth
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
