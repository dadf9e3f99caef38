# python tools/train.py configs/cityscapes/pspnet_r18-d8_control_cityscapes-512x1024.py --init work_dirs/pspnet_r18-d8_cityscapes-512x1024/iter_80000.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './pspnet_r18-d8_cityscapes-512x1024.py'

train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=40000, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=4000))
