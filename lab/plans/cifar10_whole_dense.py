# python -m lab compare lab/plans/cifar10_whole_dense.py --jobs 2
#
# Whole schedules of a net of dense layers, where each slice of a kernel is a group of its own. Otherwise as
# cifar10_whole.py. docs/replication.md has all of it (of speed seeds 0 and 1), and two more arms of an option that is gone.
config = '../configs/cifar10/small-resnet_cifar10.py'
schedule = dict(steps=10 * 312, warmup=312, schedule='cosine')
tasks = {
    'small_resnet': dict(
        config=config,
        metric='accuracy/top1',
        baseline=dict(config=config, seed=None, budget=schedule),
        budget=schedule,
    ),
}
arms = {
    'control': dict(),
    'refocused': dict(refocus=dict()),
    'speed': dict(speed='refocused'),
    'gain1': dict(refocus=dict(gain=1.0)),
}
seeds = [0, 1, 2]
