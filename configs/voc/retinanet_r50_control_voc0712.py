# python tools/train.py configs/voc/retinanet_r50_control_voc0712.py --init work_dirs/retinanet_r50_voc0712/epoch_4.pth
#
# The control of the refocused run: from the same baseline, with the same schedule, without RefConv.
_base_ = './retinanet_r50_voc0712.py'

# Its schedule is the baseline's at a fifth of the learning rate.
optim_wrapper = dict(optimizer=dict(lr=0.002))
