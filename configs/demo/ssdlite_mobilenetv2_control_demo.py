# make demo
#
# The control: goes on from the baseline for as long as the refocused run does, without RefConv.
_base_ = './ssdlite_mobilenetv2_demo.py'

train_cfg = dict(max_iters=45)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', T_max=45, end=45, by_epoch=False)
