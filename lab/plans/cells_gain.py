# python -m lab compare lab/plans/cells_gain.py --jobs 2 --out-dir work_dirs/compare/cells
#
# Between the plain speed and the paper's: the net of cells.py, refocused in its depthwise layers alone (the dense stem,
# whose Gram matrix is small, would otherwise run ahead of them), at the learning rate that the control chose there.
_base_ = './cells.py'

rate = {'optim_wrapper.optimizer.lr': 0.005}
arms = {
    '_delete_': True,
    'control': rate,
    'depthwise, gain10': dict(rate, refocus=dict(gain=10.0, kinds=['depthwise'])),
    'depthwise, gain100': dict(rate, refocus=dict(gain=100.0, kinds=['depthwise'])),
}
tune = dict(_delete_=True)
