# python -m lab compare lab/plans/cifar10_schedule.py --jobs 2
#
# Longer schedules and when in training one starts: MobileNetV2 as in cifar10.py, four times as many steps, with a
# warm-up and up to the learning rate that trained the baseline; from that baseline, or from one of a fifth of its steps.
# One thread of a two-core Xeon: 0.15 s a step, so three minutes a run; 60 runs, three hours of one core.
_base_ = './cifar10.py'

late = dict(_base_.tasks['mobilenet_v2'], budget=dict(steps=1000, warmup=100, schedule='cosine'))
early = dict(late, baseline=dict(late['baseline'], budget=dict(steps=500, warmup=100, schedule='cosine')))
tasks = dict(_delete_=True, late=late, early=early)
low, high = {'optim_wrapper.optimizer.lr': 0.03}, {'optim_wrapper.optimizer.lr': 0.1}
arms = {
    '_delete_': True,
    'control': low,
    'gain1': dict(low, refocus=dict(gain=1.0)),
    'refocused': dict(low, refocus=dict()),
    'control, lr 0.1': dict(high, against=None),
    'gain1, lr 0.1': dict(high, refocus=dict(gain=1.0), against='control, lr 0.1'),
    'refocused, lr 0.1': dict(high, refocus=dict(), against='control, lr 0.1'),
}
