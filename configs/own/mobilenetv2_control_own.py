# python tools/train.py configs/own/mobilenetv2_control_own.py --init work_dirs/mobilenetv2_own/epoch_20.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './mobilenetv2_own.py'

train_cfg = dict(max_epochs=10)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=10, by_epoch=True, begin=0, end=10)]
