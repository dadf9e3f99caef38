# python tools/compare.py configs/compare/cifar10_whole.py --jobs 2
#
# Whole schedules: a small depthwise net on CIFAR-10's training images, trained to its end, then every arm for the same
# schedule again from the same learning rate. One baseline a seed. 40,000 images are trained on, 10,000 tested.
# One thread of a two-core Xeon: 4 to 5 minutes a run.
config = '../cifar10/small-mobilenet_cifar10.py'
schedule = dict(steps=10 * 312, warmup=312, schedule='cosine')
tasks = {
    'small_mobilenet': dict(
        config=config,
        metric='accuracy/top1',
        baseline=dict(config=config, seed=None, budget=schedule),
        budget=schedule,
    ),
}
own, hooks = dict(refocus=dict()), 'custom_hooks'
arms = {
    'control': dict(),
    'refocused': own,
    'kaiming': dict(refocus=dict(init='kaiming')),
    'speed': dict(speed='refocused'),
    'gain1': dict(refocus=dict(gain=1.0)),
    'gain10': dict(refocus=dict(gain=10.0)),
    'turned': {'refocus': dict(), hooks: [dict(type='OtherMetricHook', metric='turned')]},
    'l2sp': {'refocus': dict(gain=1.0), hooks: [dict(type='OtherMetricHook', metric='identity')]},
    'acnet': {'refocus': dict(gain=1.0), hooks: [dict(type='OtherMetricHook', metric='acnet')]},
    'repvgg': {'refocus': dict(gain=1.0), hooks: [dict(type='OtherMetricHook', metric='repvgg')]},
}
seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
