# python -m lab compare lab/plans/cityscapes.py
#
# Segmentation: DeepLabV3+ MobileNetV2-d8 on Cityscapes. Whole schedules: a baseline a seed, trained to its end from
# ImageNet weights as configs/cityscapes does, then every arm for the same schedule again from the same learning rate.
# The test labels are not public, so val/ is reported on and nothing is tuned; to tune, hold some cities of train/ back.
# Not run by us; lab/compare.md estimates the time.
config = '../../configs/cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py'
tasks = dict(
    cityscapes=dict(
        config=config,
        baseline=dict(config=config, seed=None),
        metric='mIoU',
    ),
)
arms = dict(
    control=dict(),
    refocused=dict(refocus=dict(kinds=['depthwise', 'grouped'])),
    gain1=dict(refocus=dict(gain=1.0, kinds=['depthwise', 'grouped'])),
    speed=dict(speed='refocused'),
)
seeds = [0, 1, 2]
