# python -m lab compare lab/plans/streets_lr.py --jobs 2 --out-dir work_dirs/compare/streets
#
# The plan of streets.py once more, every arm at both learning rates and none chosen: one tuning seed chooses badly.
_base_ = './streets.py'

rate = 'optim_wrapper.optimizer.lr'
# Named so that what the tuning of streets.py chose is not run again.
arms = {
    '_delete_': True,
    'control': {rate: 0.01},
    'gain1, lr 0.01': {rate: 0.01, 'refocus': dict(gain=1.0)},
    'control, lr 0.03': {rate: 0.03, 'against': None},
    'gain1': {rate: 0.03, 'refocus': dict(gain=1.0), 'against': 'control, lr 0.03'},
}
tune = dict(_delete_=True)
