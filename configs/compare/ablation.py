# python tools/compare.py configs/compare/ablation.py --jobs 2
#
# What each option of the layer does, one change at a time from `refocused`, on CIFAR-10 as in cifar10.py.
# MobileNetV3 is the net with 5x5 kernels: map_k=5 refocuses those and leaves the 3x3 ones alone.
# 2 to 3 minutes a run of one thread, as in cifar10.py; 113 runs, some 5 hours of one core.
v2, v3 = '../cifar10/mobilenet-v2_cifar10.py', '../cifar10/mobilenet-v3-large_cifar10.py'
baseline = dict(steps=2500, warmup=100)
options = {'train_dataloader.batch_size': 32, 'optim_wrapper.optimizer.lr': 0.01}
decay, lr = 'decay_mult', 'lr_mult'
tasks = dict(
    mobilenet_v2=dict(config=v2, baseline=dict(config=v2, budget=baseline), metric='accuracy/top1', options=options),
    mobilenet_v3=dict(config=v3, baseline=dict(config=v3, budget=baseline), metric='accuracy/top1', options=options),
)
of_map = 'optim_wrapper.paramwise_cfg'  # every map has `refocus` in its name, and nothing else has
arms = {
    'control': dict(),
    'refocused': dict(refocus=dict()),
    'map_k=1': dict(refocus=dict(map_k=1)),
    'map_k=5': dict(refocus=dict(map_k=5), tasks=['mobilenet_v3']),
    'init=kaiming': dict(refocus=dict(init='kaiming')),
    'init=dirac': dict(refocus=dict(init='dirac')),
    'identity=False': dict(refocus=dict(init='dirac', identity=False)),
    'depthwise only': dict(refocus=dict(kinds=['depthwise'])),
    'dense only': dict(refocus=dict(kinds=['dense'])),
    'explicit': dict(refocus=dict(form='explicit')),
    'compact': dict(refocus=dict(form='compact')),
    'no decay of the map': {'refocus': dict(), of_map: dict(custom_keys=dict(refocus=dict(decay_mult=0.0)))},
    'lr of the map x 0.1': {'refocus': dict(), of_map: dict(custom_keys=dict(refocus=dict(lr_mult=0.1)))},
    'lr of the map x 10': {'refocus': dict(), of_map: dict(custom_keys=dict(refocus=dict(lr_mult=10.0)))},
    'gain=1': dict(refocus=dict(gain=1.0)),
    # Iterated: fuse, take the result as the new basis, refocus again; each round against as much plain training.
    'control, round 2': dict(start='control', against=None),
    'refocused, round 2': dict(start='refocused', refocus=dict(), against='control, round 2'),
    'control, round 3': dict(start='control, round 2', against=None),
    'refocused, round 3': dict(start='refocused, round 2', refocus=dict(), against='control, round 3'),
}
seeds = [0, 1, 2]
budget = dict(steps=400, warmup=20)
