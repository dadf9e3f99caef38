# python -m lab compare lab/plans/cifar10_adamw.py --jobs 2
#
# AdamW, with which most of mmdet and mmseg trains now: the net of cifar10_whole.py, trained to the end of a schedule of six
# epochs, then every arm for the same schedule again from the same learning rate. One baseline per seed, by AdamW as well. Nothing
# but the optimizer and the length differs from cifar10_whole.py. The config clips no gradients. Under AdamW, training V is
# another method than training the map. One thread: 4 to 11 minutes a run.
config = '../configs/cifar10/small-mobilenet_cifar10.py'
schedule = dict(steps=6 * 312, warmup=312, schedule='cosine')
tasks = {
    'small_mobilenet': dict(
        config=config,
        metric='accuracy/top1',
        baseline=dict(config=config, seed=None, budget=schedule),
        options={
            'optim_wrapper': dict(
                _delete_=True,
                optimizer=dict(type='AdamW', lr=0.004, weight_decay=0.05),
                paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
            )
        },
        budget=schedule,
    ),
}
default = dict(gain=1.0, kinds=['depthwise', 'grouped'])
arms = {
    'control': dict(),
    'gain1': dict(refocus=default),
    # Plain kernels at the same rate whose weight decay pulls to the basis: gain1 differs from these by its matrix alone.
    'l2sp': dict(refocus=default, custom_hooks=[dict(type='LabOtherMatrixHook', matrix='identity')]),
    'refocused': dict(refocus=dict()),
}
seeds = [0, 1, 2]
