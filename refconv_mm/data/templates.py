"""The texts of the configs that `refconv new` writes; :mod:`refconv_mm.data.new` fills them in."""

BASE = """# Model and runtime as the libraries have them, by `refconv new`. What depends on the data is in baseline.py.
"""

HEAD = """# refconv train {out}/baseline.py
#
# The baseline, for {task}, trained from ImageNet weights, which mmengine downloads. With weights of your own:
#     refconv train {out}/baseline.py --init WEIGHTS.pth
# Found in {root} ({layout} layout):
#     {found}
_base_ = './base.py'
{imports}
work_dir = '{out}/runs/baseline'
data_root = '{root}/'
classes = {classes}
metainfo = dict(classes=classes)
size = ({height}, {width})  # height and width of what the net gets; the images have {median}
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of RGB images, as the weights want them
batch = {batch}  # for {device} and {trained} images
steps = {steps}  # {epochs} epochs
"""

TASKS = {
    'detection': """
# Of the boxes, {small} % are smaller than 16 pixels at this size. If these matter, double it; the anchors follow.
side = size[0]
edges = [round(edge * side / 320) for edge in (48, 100, 150, 202, 253, 304, 320)]
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    bbox_head=dict(
        num_classes=len(classes),
        anchor_generator=dict(
            strides=[round(side / -(-side // 2**level)) for level in range(4, 10)],  # side / side of each feature map
            min_sizes=edges[:-1],
            max_sizes=edges[1:],
        ),
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Expand', mean=mean, to_rgb=True, ratio_range=(1, 2), prob=0.3),
    dict(type='MinIoURandomCrop', min_ious=(0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
    dict(type='Resize', scale=size[::-1], keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size[::-1], keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
clip_grad = dict(max_norm=35, norm_type=2)
""",
    'segmentation': """
model = dict(
    data_preprocessor=dict(size=size, mean=mean, std=std),
    decode_head=dict(num_classes=len(classes)),
    auxiliary_head=dict(num_classes=len(classes)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=({width}, {height}), ratio_range=(0.75, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [  # at the size that the images have
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
clip_grad = None
""",
    'classification': """
model = dict(head=dict(num_classes=len(classes), topk=(1,)))
data_preprocessor = dict(num_classes=len(classes), mean=mean, std=std)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.3, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size[::-1], backend='pillow'),
    dict(type='PackInputs'),
]
clip_grad = None
""",
}

SCHEDULE = """
train_set = {train_set}
val_set = {val_set}
test_set = {test_set}
common = dict(data_root=data_root, metainfo=metainfo)
workers = dict(num_workers={workers}, persistent_workers=True{collate})
train_dataloader = dict(
    batch_size=batch,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(**train_set, **common, pipeline=train_pipeline),
    **workers,
)
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**val_set, **common, pipeline=test_pipeline),
    **workers,
)
test_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**test_set, **common, pipeline=test_pipeline),
    **workers,
)
val_evaluator = {evaluator}
test_evaluator = {test_evaluator}

train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=steps // 5)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr={rate:g}, momentum=0.9, weight_decay=4e-5),
    clip_grad=clip_grad,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=steps // 10),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=steps // 10, end=steps, T_max=steps - steps // 10),
]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=steps // 5, max_keep_ckpts=2),
    logger=dict(type='LoggerHook', interval=max(1, min(50, steps // 20)), log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""

OTHERS = {
    'control': """# refconv train {out}/control.py --init {out}/runs/baseline/iter_{steps}.pth
#
# The control: goes on from the baseline for as long as the refocused run does, without RefConv. Only against it can you
# see what refocusing is worth.
_base_ = './baseline.py'

work_dir = '{out}/runs/control'
steps = {more}  # {more_epochs} epochs
train_cfg = dict(max_iters=steps, val_interval=steps // 5)
optim_wrapper = dict(optimizer=dict(lr={tuned:g}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=steps // 10),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=steps // 10, end=steps, T_max=steps - steps // 10),
]
default_hooks = dict(checkpoint=dict(interval=steps // 5))
""",
    'refocused': """# refconv train {out}/refocused.py --init {out}/runs/baseline/iter_{steps}.pth
# refconv test {out}/runs/refocused/fused.py {out}/runs/refocused/fused.pth    (the training has fused it)
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './control.py'

work_dir = '{out}/runs/refocused'
custom_imports = dict(imports={all_imports}, allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
""",
    'compare': """# refconv compare {out}/compare.py --dry-run      # what would run
# refconv compare {out}/compare.py --jobs 2
#
# Whether refocusing is worth anything here: a control and a refocused arm, over seeds, from one baseline.
tasks = dict(
    mine=dict(
        config='control.py',
        baseline=dict(
            config='baseline.py',
            # start='WEIGHTS.pth',  # weights of your own in place of the download
            budget=dict(steps={steps}, warmup={warmup}),
        ),
        metric='{metric}',
        scale={scale},
    ),
)
arms = dict(
    control=dict(),
    gain1=dict(refocus=dict(gain=1.0)),
)
seeds = [0, 1, 2, 3, 4]
budget = dict(steps={more}, warmup={more_warmup})
""",
}
