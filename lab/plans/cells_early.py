# python -m lab compare lab/plans/cells_early.py --jobs 2
#
# Refocusing from the weights of ImageNet on, in place of a trained detector: the net of cells.py, after ten steps so
# that all arms have the same new head, at the learning rate that trained the baseline there.
# One thread of a two-core Xeon: 0.7 s a step, so two and a half minutes a run.
_base_ = './cells.py'

cells = dict(_base_.tasks['cells'], budget=dict(steps=200, warmup=20))
cells['baseline'] = dict(cells['baseline'], budget=dict(steps=10, warmup=1, schedule='constant'))
cells['options'] = dict(cells['options'], **cells['baseline']['options'])
tasks = dict(_delete_=True, cells=cells)
arms = {
    '_delete_': True,
    'control': dict(),
    'depthwise, gain100': dict(refocus=dict(gain=100.0, kinds=['depthwise'])),
    'depthwise, speed100': dict(speed='depthwise, gain100'),
}
