# python -m lab compare lab/plans/cells_whole.py --jobs 2
#
# Whole schedules: the detector of cells.py trained to its end from ImageNet weights, then every arm for the same
# schedule again from the same learning rate, with warm-up. One baseline a seed; its validation curve shows whether it
# has ended. docs/replication.md says how many seeds of each arm are done. One thread: 11 to 25 minutes a run.
_base_ = './cells.py'

schedule = dict(steps=900, warmup=90, schedule='cosine', val_every=150)
tasks = dict(
    cells=dict(
        baseline=dict(_delete_=True, config='../../configs/bccd/ssdlite_mobilenetv2_bccd.py',
                      start='data/weights/mobilenet_v2_imagenet.pth', seed=None, budget=schedule),
        options={'optim_wrapper.optimizer.lr': 0.02},
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
