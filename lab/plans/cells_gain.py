# python -m lab compare lab/plans/cells_gain.py --jobs 2 --out-dir work_dirs/compare/cells
#
# Between the plain speed and the paper's: the net of cells.py, refocused in its depthwise layers alone (the dense stem,
# whose Gram matrix is small, would otherwise run ahead of them).
_base_ = './cells.py'

arms = {
    '_delete_': True,
    'control': _base_.rate,
    'depthwise, gain10': dict(_base_.rate, refocus=dict(gain=10.0, kinds=['depthwise'])),
    'depthwise, gain100': dict(_base_.rate, refocus=dict(gain=100.0, kinds=['depthwise'])),
}
