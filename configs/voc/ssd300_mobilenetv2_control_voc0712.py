# python tools/train.py configs/voc/ssd300_mobilenetv2_control_voc0712.py --init work_dirs/ssd300_mobilenetv2_voc0712/epoch_24.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './ssd300_mobilenetv2_voc0712.py'

train_cfg = dict(max_epochs=12)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', begin=0, T_max=12, end=12, by_epoch=True, eta_min=0),
]
