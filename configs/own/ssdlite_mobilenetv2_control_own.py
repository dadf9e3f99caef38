# python tools/train.py configs/own/ssdlite_mobilenetv2_control_own.py --init work_dirs/ssdlite_mobilenetv2_own/epoch_20.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './ssdlite_mobilenetv2_own.py'

train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', begin=0, T_max=10, end=10, by_epoch=True, eta_min=0),
]
