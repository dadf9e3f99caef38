# make demo
#
# The control: goes on from the baseline for as long as the refocused run does, without RefConv.
_base_ = './deeplabv3plus_mobilenetv2-d8_demo.py'

train_cfg = dict(max_iters=45)
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=45, by_epoch=False)]
