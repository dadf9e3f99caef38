# python tools/train.py configs/imagenet/mobilenetv2_control_imagenet.py --init mobilenet_v2.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './mobilenetv2_imagenet.py'

train_cfg = dict(max_epochs=100)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', T_max=100, by_epoch=True)
