# The control: goes on from the trained baseline for as long as the refocused run does, without RefConv. Only against it
# can you see what refocusing is worth.
_base_ = './baseline.py'

work_dir = 'work_dirs/new/control'
load_from = _base_.work_dir + f'/iter_{_base_.steps}.pth'
steps = max(_base_.steps // 3, 2)
every, warmup = max(steps // 5, 1), max(steps // 10, 1)
train_cfg = dict(max_iters=steps, val_interval=every)
optim_wrapper = dict(optimizer=dict(lr=_base_.next_rate))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=steps, T_max=steps - warmup),
]
default_hooks = dict(checkpoint=dict(interval=every))
