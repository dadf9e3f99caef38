# python -m lab compare lab/plans/streets_whole.py --jobs 2
#
# Whole schedules: the segmenter of streets.py trained to its end from ImageNet weights, then every arm for the same
# schedule again from the same learning rate. One baseline a seed; its validation curve shows whether it has ended.
# docs/replication.md has five seeds of control and refocused, three of the others. One thread: 12 to 20 minutes a run.
_base_ = './streets.py'

schedule = dict(steps=900, warmup=45, schedule='poly', val_every=150)
tasks = dict(
    streets=dict(
        baseline=dict(_delete_=True, config='../../configs/camvid/deeplabv3plus_mobilenetv2-d8_camvid-240x320.py',
                      start='data/weights/mobilenet_v2_imagenet.pth', seed=None, budget=schedule),
        options={'optim_wrapper.optimizer.lr': 0.03},
        budget=schedule,
    ),
)  # fmt: skip
arms = dict(
    _delete_=True,
    control=dict(),
    refocused=dict(refocus=dict()),
    speed=dict(speed='refocused'),
    gain1=dict(refocus=dict(gain=1.0)),
)
seeds = [0, 1, 2, 3, 4]
budget = None
