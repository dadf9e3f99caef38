# python -m lab compare lab/plans/cifar10_whole_overfit_tuned.py --jobs 2
#
# The net of cifar10_whole_overfit.py, plain and refocused, each at the learning rate and weight decay that were best for it
# there (seeds 0 to 2), on ten new seeds. One thread: 3 minutes a run.
_base_ = './cifar10_whole_overfit.py'

optimizer = 'optim_wrapper.optimizer.'
best = {optimizer + 'lr': 0.3, optimizer + 'weight_decay': 4e-4}
arms = {'_delete_': True, 'control': best, 'refocused': {'refocus': dict(), **best}}
seeds = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
