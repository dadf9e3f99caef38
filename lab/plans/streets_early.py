# python -m lab compare lab/plans/streets_early.py --jobs 2
#
# Refocusing from the weights of ImageNet on, in place of a trained segmenter: the net of streets.py, after ten steps so
# that all arms have the same new head, for three times as many steps, at the better of the learning rates there.
# One thread of a two-core Xeon: 0.9 s a step, so three minutes a run.
_base_ = './streets.py'

streets = dict(_base_.tasks['streets'], budget=dict(steps=180, warmup=18, schedule='poly'))
streets['baseline'] = dict(streets['baseline'], budget=dict(steps=10, warmup=1, schedule='constant'))
tasks = dict(_delete_=True, streets=streets)
rate = {'optim_wrapper.optimizer.lr': 0.03}
arms = {
    '_delete_': True,
    'control': rate,
    'gain1': dict(rate, refocus=dict(gain=1.0)),
    'depthwise, gain10': dict(rate, refocus=dict(gain=10.0, kinds=['depthwise'])),
    'depthwise, gain100': dict(rate, refocus=dict(gain=100.0, kinds=['depthwise'])),
    'depthwise, speed100': dict(rate, speed='depthwise, gain100'),
}
