# python -m lab compare lab/plans/cifar10_whole.py --jobs 2
#
# Whole schedules: a small depthwise net on CIFAR-10's training images, trained to its end, then every arm for the same
# schedule again from the same learning rate. One baseline a seed. 40,000 images are trained on, 10,000 tested.
# One thread of a two-core Xeon: 4 to 6 minutes a run. docs/replication.md has ten seeds of control and refocused, four of
# kaiming, speed, gain1, turned and l2sp, two of the rounds, and three of the other arms.
config = '../configs/cifar10/small-mobilenet_cifar10.py'
schedule = dict(steps=10 * 312, warmup=312, schedule='cosine')
tasks = {
    'small_mobilenet': dict(
        config=config,
        metric='accuracy/top1',
        baseline=dict(config=config, seed=None, budget=schedule),
        budget=schedule,
    ),
}
own, hooks, rate = dict(refocus=dict()), 'custom_hooks', 'optim_wrapper.optimizer.lr'
backbone = dict(type='LabSmallMobileNet')
depthwise = 'layers.*.conv.1'


def other_matrix(matrix, **options):
    """An arm with another matrix in the place of the Gram matrix."""
    options = dict(options, kinds=['depthwise'])  # the dense stem trains its map, which takes no other matrix
    return {'refocus': options, hooks: [dict(type='LabOtherMatrixHook', matrix=matrix)]}


def with_attention(kind, **options):
    """An arm with an attention module behind each depthwise layer."""
    module = dict(type=kind, **options)
    modules = ['refconv_mm', 'lab.nets.small_images', 'lab.compare.other_methods']
    return {
        'custom_imports.imports': modules,  # so that the run's config builds by itself
        'model.backbone': dict(
            _delete_=True, type='LabAttentionBackbone', backbone=backbone, attention=module, after=depthwise
        ),
    }


arms = {
    'control': dict(),
    'refocused': own,
    'kaiming': dict(refocus=dict(init='kaiming')),
    'speed': dict(speed='refocused'),
    'gain1': dict(refocus=dict(gain=1.0)),
    'gain10': dict(refocus=dict(gain=10.0)),
    'turned': other_matrix('rotated'),
    'l2sp': other_matrix('identity', gain=1.0),
    'acnet': other_matrix('acnet', gain=1.0),
    'repvgg': other_matrix('repvgg', gain=1.0),
    # What the paper compares with; these cost time at inference.
    'se': with_attention('mmpretrain.models.utils.SELayer', ratio=4),
    'cbam': with_attention('timm.layers.cbam.CbamModule', rd_ratio=0.25),
    # A third and a fourth schedule.
    'control2': dict(start='control', against=None),
    'refocused2': dict(**own, start='refocused', against='control2'),
    'control3': dict(start='control2', against=None),
    'refocused3': dict(**own, start='refocused2', against='control3'),
    # A third and a tenth of the learning rate.
    'control_third': {rate: 0.1 / 3, 'against': None},
    'refocused_third': {**own, rate: 0.1 / 3, 'against': 'control_third'},
    'control_tenth': {rate: 0.01, 'against': None},
    'refocused_tenth': {**own, rate: 0.01, 'against': 'control_tenth'},
}
seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
