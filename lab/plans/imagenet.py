# python -m lab compare lab/plans/imagenet.py
#
# Classification: MobileNetV2 on ImageNet (the other nets likewise, with their own configs). Whole schedules: every arm
# trains 105 epochs from lr 0.1, from mmpretrain's published checkpoint, which trained to its end. val/ is reported on and
# nothing is tuned. Not run by us; lab/compare.md estimates the time.
checkpoint = 'data/weights/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth'  # the line to edit

tasks = dict(
    mobilenet_v2=dict(
        config='../../configs/imagenet/mobilenetv2_control_imagenet.py',
        baseline=dict(checkpoint=checkpoint),
        metric='accuracy/top1',
    ),
)
arms = dict(
    control=dict(),
    refocused=dict(refocus=dict(kinds=['depthwise', 'grouped'])),
    gain1=dict(refocus=dict(gain=1.0, kinds=['depthwise', 'grouped'])),
    speed=dict(speed='refocused'),
)
seeds = [0, 1, 2]
