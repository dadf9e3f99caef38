# python tools/compare.py configs/compare/cifar10_whole_overfit.py --jobs 2
#
# Whole schedules of the net of cifar10_whole.py where it overfits in place of underfitting: a fifth of the images to
# train on (8,000), without augmentation, 25 epochs twice. One thread: 3 minutes a run.
config = '../cifar10/small-mobilenet_cifar10.py'
schedule = dict(steps=25 * 62, warmup=62, schedule='cosine')
images = dict(
    type='CustomDataset',
    data_root='data/cifar10_full/',
    data_prefix='train',
    with_label=True,
    pipeline=[dict(type='LoadImageOnce'), dict(type='PackInputs')],
)
four_fifths = dict(_delete_=True, type='EveryFifth', held_out=False, dataset=images)
tasks = {
    'few_images': dict(
        config=config,
        metric='accuracy/top1',
        baseline=dict(config=config, seed=None, budget=schedule),
        options={'train_dataloader.dataset': dict(type='EveryFifth', held_out=True, dataset=four_fifths)},
        budget=schedule,
    ),
}
optimizer = 'optim_wrapper.optimizer.'
arms = {
    'control': dict(),
    'refocused': dict(refocus=dict()),
    'speed': dict(speed='refocused'),
    'gain1': dict(refocus=dict(gain=1.0)),
    # Both tuned alike: the learning rate, and the weight decay.
    'decay': {optimizer + 'weight_decay': 4e-4},
    'fast': {optimizer + 'lr': 0.3},
    'fast_decay': {optimizer + 'lr': 0.3, optimizer + 'weight_decay': 4e-4},
    'fast_more_decay': {optimizer + 'lr': 0.3, optimizer + 'weight_decay': 4e-3},
    'fastest': {optimizer + 'lr': 1.0},
    'refocused_decay': {'refocus': dict(), optimizer + 'weight_decay': 4e-4, 'against': 'decay'},
    'refocused_fast': {'refocus': dict(), optimizer + 'lr': 0.3, 'against': 'fast'},
    'refocused_fast_decay': {
        'refocus': dict(),
        optimizer + 'lr': 0.3,
        optimizer + 'weight_decay': 4e-4,
        'against': 'fast_decay',
    },
    'refocused_fast_more_decay': {
        'refocus': dict(),
        optimizer + 'lr': 0.3,
        optimizer + 'weight_decay': 4e-3,
        'against': 'fast_more_decay',
    },
    'refocused_fastest': {'refocus': dict(), optimizer + 'lr': 1.0, 'against': 'fastest'},
}
seeds = [0, 1, 2]
