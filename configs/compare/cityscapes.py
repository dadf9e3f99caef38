# python tools/compare.py configs/compare/cityscapes.py
#
# Segmentation: DeepLabV3+ MobileNetV2-d8 on Cityscapes, as configs/cityscapes trains it. The test labels are not
# public, so val/ is reported on and nothing is tuned; to tune, hold some cities of train/ back.
tasks = dict(
    cityscapes=dict(
        config='../cityscapes/deeplabv3plus_mobilenetv2-d8_control_cityscapes-512x1024.py',
        baseline=dict(config='../cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py'),
        metric='mIoU',
    ),
)
arms = dict(
    control=dict(),
    refocused=dict(refocus=dict()),
    gain1=dict(refocus=dict(gain=1.0)),
    speed=dict(speed='refocused'),
)
seeds = [0, 1, 2]
