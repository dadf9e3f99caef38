# python -m lab compare lab/plans/ablation.py --jobs 2 --out-dir work_dirs/compare/cifar10
#
# What each option of the layer does, one change at a time from `refocused`, on CIFAR-10 with the nets, baselines and
# steps of cifar10.py; in that plan's folder, what both have in common is run once.
# MobileNetV3 is the net with 5x5 kernels: map_k=5 refocuses those and leaves the 3x3 ones alone.
# 49 runs beside those of cifar10.py, 50 minutes of one core.
_base_ = './cifar10.py'

lr, baseline_lr = {'optim_wrapper.optimizer.lr': 0.01}, {'optim_wrapper.optimizer.lr': 0.1}  # as there
of_map = 'optim_wrapper.paramwise_cfg'  # every map has `refocus` in its name, and nothing else has
v2 = dict(tasks=['mobilenet_v2'])
tasks = dict(
    _delete_=True,
    mobilenet_v2={**_base_.tasks['mobilenet_v2']},
    mobilenet_v3={**_base_.tasks['mobilenet_v3']},
    mobilenet_v2_warmup=dict(  # over half the run
        _base_.tasks['mobilenet_v2'], budget=dict(_base_.tasks['mobilenet_v2']['budget'], warmup=125)
    ),
)
for task in tasks.values():
    if isinstance(task, dict):
        task['baseline'] = dict(task['baseline'], options=baseline_lr)
        task['options'] = dict(task['options'], **lr)
arms = {
    '_delete_': True,
    'control': dict(),
    'refocused': dict(refocus=dict()),
    'gain1': dict(refocus=dict(gain=1.0), **v2),
    'gain10': dict(refocus=dict(gain=10.0), **v2),
    'map_k=1': dict(refocus=dict(map_k=1), **v2),
    'map_k=5': dict(refocus=dict(map_k=5), tasks=['mobilenet_v3']),
    'init=kaiming': dict(refocus=dict(init='kaiming'), **v2),
    'identity=False': dict(refocus=dict(init='dirac', identity=False), **v2),
    'depthwise only': dict(refocus=dict(kinds=['depthwise']), **v2),
    'no decay of the map': {'refocus': dict(), of_map: dict(custom_keys=dict(refocus=dict(decay_mult=0.0))), **v2},
    'lr of the map x 0.1': {'refocus': dict(), of_map: dict(custom_keys=dict(refocus=dict(lr_mult=0.1))), **v2},
    'lr of the map x 10': {'refocus': dict(), of_map: dict(custom_keys=dict(refocus=dict(lr_mult=10.0))), **v2},
    # Iterated: fuse, take the result as the new basis, refocus again; each round against as much plain training.
    'control, round 2': dict(start='control', against=None, **v2),
    'refocused, round 2': dict(start='refocused', refocus=dict(), against='control, round 2', **v2),
    'control, round 3': dict(start='control, round 2', against=None, **v2),
    'refocused, round 3': dict(start='refocused, round 2', refocus=dict(), against='control, round 3', **v2),
}
seeds = [0, 1, 2]
