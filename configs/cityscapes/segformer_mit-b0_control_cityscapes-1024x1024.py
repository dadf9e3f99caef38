# python tools/train.py configs/cityscapes/segformer_mit-b0_control_cityscapes-1024x1024.py --init work_dirs/segformer_mit-b0_cityscapes-1024x1024/iter_160000.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './segformer_mit-b0_cityscapes-1024x1024.py'

train_cfg = dict(max_iters=80000, val_interval=8000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=80000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=8000))
