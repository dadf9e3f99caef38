# Runtime and schedule of the ImageNet configs: the paper's, 5 epochs of warm-up and 100 of cosine, for a batch of 256.
_base_ = 'mmpretrain::_base_/default_runtime.py'

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=4e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=100, by_epoch=True, begin=5, end=105, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=105, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
