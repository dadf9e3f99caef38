# python -m lab compare lab/plans/streets_lr.py --jobs 2 --out-dir work_dirs/compare/streets
#
# Control and gain1 of streets.py at both learning rates: one seed on the validation split had chosen badly.
_base_ = './streets.py'

rate = 'optim_wrapper.optimizer.lr'
arms = {
    '_delete_': True,
    'control': {rate: 0.01},
    'gain1, lr 0.01': {rate: 0.01, 'refocus': dict(gain=1.0)},
    'control, lr 0.03': {rate: 0.03, 'against': None},
    'gain1': {rate: 0.03, 'refocus': dict(gain=1.0), 'against': 'control, lr 0.03'},
}
