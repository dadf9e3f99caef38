"""The texts of the configs that `refconv new` writes; :mod:`refconv_mm.data.new` fills them in."""

# The nets, as the libraries' own configs have them, and what is added to those.
NETS = {
    'detection': """_base_ = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'
model = dict(  # mmdet's own MobileNetV2 has other keys than the weights
    backbone=dict(type='mmpretrain.MobileNetV2', norm_cfg=dict(eps=1e-5), init_cfg=dict(_delete_=True, {start})))
""",
    'segmentation': """_base_ = 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py'
norm = dict(type='BN')  # SyncBN needs several GPUs
model = dict(pretrained=None, backbone=dict(norm_cfg=norm, init_cfg=dict({start})), decode_head=dict(norm_cfg=norm),
             auxiliary_head=dict(norm_cfg=norm))
""",
    'classification': """_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'
model = dict(backbone=dict(init_cfg=dict({start})), head=dict(topk=(1,)))
val_cfg, test_cfg = dict(type='ValLoop'), dict(type='TestLoop')
""",
}
START = "type='Pretrained', checkpoint='mmcls://mobilenet_v2'"

BASELINE = """# refconv train {here}/baseline.py
#
# The baseline, from ImageNet weights, which mmengine downloads. With weights of your own, whose mean and std go below:
#     refconv train {here}/baseline.py --init WEIGHTS.pth
# {found}
_base_ = './base.py'

work_dir = {work_dir!r}
data_root = {root!r}
metainfo = dict(classes={classes!r})
size = {size!r}  # height and width of what the net gets; the images have {median}
scale = size[::-1]
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of RGB images, as the weights want them
{model}
train_pipeline = [
    dict(type='LoadImageFromFile'),
    {train_pipeline},
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    {test_pipeline},
]
{loaders}
val_evaluator = {val_evaluator}
test_evaluator = {test_evaluator}

train_cfg = dict(type='IterBasedTrainLoop', max_iters={steps}, val_interval={interval})  # {epochs} epochs
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr={rate:g}, momentum=0.9, weight_decay=4e-5),
    clip_grad={clip},
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end={warmup}),
    dict(type='CosineAnnealingLR', by_epoch=False, begin={warmup}, end={steps}, T_max={cosine}),
]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval={interval}, max_keep_ckpts=2),
    logger=dict(type='LoggerHook', interval={logged}, log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""

LOADER = """{split}_dataloader = dict(
    batch_size={batch},
    num_workers={workers},
    persistent_workers=True,
    sampler=dict(type={sampler!r}, shuffle={shuffle}),{collate}
    dataset=dict({set}, data_root=data_root, metainfo=metainfo, pipeline={pipeline}_pipeline),
)
"""

MODELS = {
    'detection': """model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    # Of the boxes, {small} % are smaller than 16 pixels at this size. For another one: refconv new --size SIDE.
    bbox_head=dict(num_classes={count}, anchor_generator=dict({anchors})),
)""",
    'segmentation': """model = dict(
    data_preprocessor=dict(size=size, mean=mean, std=std),
    decode_head=dict(num_classes={count}),
    auxiliary_head=dict(num_classes={count}),
)""",
    'classification': """model = dict(head=dict(num_classes={count}))
data_preprocessor = dict(num_classes={count}, mean=mean, std=std, to_rgb=True)""",
}

# After the image is loaded, in training and in tests.
PIPELINES = {
    'detection': (
        "dict(type='LoadAnnotations', with_bbox=True)",
        "dict(type='Expand', mean=mean, to_rgb=True, ratio_range=(1, 2), prob=0.3)",
        "dict(type='MinIoURandomCrop', min_ious=(0.3, 0.5, 0.7, 0.9), min_crop_size=0.3)",
        "dict(type='Resize', scale=scale, keep_ratio=False)",
        "dict(type='RandomFlip', prob=0.5)",
        "dict(type='PhotoMetricDistortion')",
        "dict(type='PackDetInputs')",
    ),
    'segmentation': (
        "dict(type='LoadAnnotations')",
        "dict(type='RandomResize', scale=scale, ratio_range=(0.75, 2.0), keep_ratio=True)",
        "dict(type='RandomCrop', crop_size=size, cat_max_ratio=0.75)",
        "dict(type='RandomFlip', prob=0.5)",
        "dict(type='PhotoMetricDistortion')",
        "dict(type='PackSegInputs')",
    ),
    'classification': (
        "dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.3, 1.0), backend='pillow')",
        "dict(type='RandomFlip', prob=0.5, direction='horizontal')",
        "dict(type='PackInputs')",
    ),
}
TESTS = {
    'detection': (
        "dict(type='Resize', scale=scale, keep_ratio=False)",
        "dict(type='LoadAnnotations', with_bbox=True)",
        "dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))",
    ),
    'segmentation': (
        "dict(type='Resize', scale=scale, keep_ratio=True)",
        "dict(type='LoadAnnotations')",
        "dict(type='PackSegInputs')",
    ),
    'classification': ("dict(type='Resize', scale=scale, backend='pillow')", "dict(type='PackInputs')"),
}

OTHERS = {
    'control.py': """# refconv train {here}/control.py --init {here}/runs/baseline/iter_{steps}.pth
#
# The control: goes on from the baseline for as long as the refocused run does, without RefConv. Only against it can you
# see what refocusing is worth.
_base_ = './baseline.py'

work_dir = {control_dir!r}
train_cfg = dict(max_iters={more}, val_interval={more_interval})  # {more_epochs} epochs
optim_wrapper = dict(optimizer=dict(lr={tuned:g}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end={more_warmup}),
    dict(type='CosineAnnealingLR', by_epoch=False, begin={more_warmup}, end={more}, T_max={more_cosine}),
]
default_hooks = dict(checkpoint=dict(interval={more_interval}))
""",
    'refocused.py': """# refconv train {here}/refocused.py --init {here}/runs/baseline/iter_{steps}.pth
# refconv test {here}/runs/refocused/fused.py {here}/runs/refocused/fused.pth    (the training has fused it)
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './control.py'

work_dir = {refocused_dir!r}
custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
""",
}
