# python tools/train.py configs/camvid/deeplabv3plus_mobilenetv2-d8_control_camvid-240x320.py --init work_dirs/deeplabv3plus_mobilenetv2-d8_camvid-240x320/iter_240.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './deeplabv3plus_mobilenetv2-d8_camvid-240x320.py'

train_cfg = dict(max_iters=120, val_interval=120)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=120, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=120))
