# python -m lab compare lab/plans/cifar10_whole_overfit.py --jobs 2
#
# Whole schedules of the net of cifar10_whole.py where it overfits in place of underfitting: a fifth of the images to
# train on (8,000), without augmentation, 25 epochs twice. One thread: 3 minutes a run.
config = '../configs/cifar10/small-mobilenet_cifar10.py'
schedule = dict(steps=25 * 62, warmup=62, schedule='cosine')
images = dict(
    type='CustomDataset',
    data_root='data/cifar10_full/',
    data_prefix='train',
    with_label=True,
    pipeline=[dict(type='LabLoadImageOnce'), dict(type='PackInputs')],
)
four_fifths = dict(_delete_=True, type='LabEveryFifth', held_out=False, dataset=images)
tasks = {
    'few_images': dict(
        config=config,
        metric='accuracy/top1',
        baseline=dict(config=config, seed=None, budget=schedule),
        options={'train_dataloader.dataset': dict(type='LabEveryFifth', held_out=True, dataset=four_fifths)},
        budget=schedule,
    ),
}
optimizer = 'optim_wrapper.optimizer.'
# Plain and refocused are tuned alike: the learning rate and the weight decay.
points = {
    'decay': {optimizer + 'weight_decay': 4e-4},
    'fast': {optimizer + 'lr': 0.3},
    'fast_decay': {optimizer + 'lr': 0.3, optimizer + 'weight_decay': 4e-4},
    'fast_more_decay': {optimizer + 'lr': 0.3, optimizer + 'weight_decay': 4e-3},
    'fastest': {optimizer + 'lr': 1.0},
}
arms = {
    'control': dict(),
    'refocused': dict(refocus=dict()),
    'speed': dict(speed='refocused'),
    'gain1': dict(refocus=dict(gain=1.0)),
    **points,
    **{f'refocused_{name}': {'refocus': dict(), **point, 'against': name} for name, point in points.items()},
}
seeds = [0, 1, 2]
