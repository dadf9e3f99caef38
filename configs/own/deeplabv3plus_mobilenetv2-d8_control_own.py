# python tools/train.py configs/own/deeplabv3plus_mobilenetv2-d8_control_own.py --init work_dirs/deeplabv3plus_mobilenetv2-d8_own/iter_2000.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './deeplabv3plus_mobilenetv2-d8_own.py'

train_cfg = dict(max_iters=1000)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=1000, by_epoch=False)]
