# python -m lab compare lab/plans/voc.py
#
# Detection: SSDLite-MobileNetV2 on Pascal VOC 07+12. Whole schedules: a baseline a seed, trained to its end from ImageNet
# weights as configs/voc does, then every arm for the same schedule again from the same learning rate. VOC2007's trainval
# and test are the usual split; to tune, train on 2007's train.txt and 2012's trainval.txt and point val_dataloader at
# 2007's val.txt. Not run by us; lab/compare.md estimates the time.
config = '../../configs/voc/ssdlite_mobilenetv2_voc0712.py'
tasks = dict(
    voc=dict(
        config=config,
        baseline=dict(config=config, seed=None),
        metric='pascal_voc/mAP',
        scale=100,
    ),
)
arms = dict(
    control=dict(),
    refocused=dict(refocus=dict(kinds=['depthwise', 'grouped'])),
    gain1=dict(refocus=dict(gain=1.0, kinds=['depthwise', 'grouped'])),
    speed=dict(speed='refocused'),
)
seeds = [0, 1, 2]
