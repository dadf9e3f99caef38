# python tools/compare.py configs/compare/cifar10.py --jobs 2
#
# Classification: four nets with stems for 32x32 on CIFAR-10 (or a tenth of it, in folders of images), baselines from
# scratch first. Of train/, every fifth image is the validation split; val/ is the test split.
# One thread of a busy two-core EPYC: 0.3 to 0.4 s a step (ResNet-18: 1.0 s), so 2 to 4 minutes a run with its
# test; 124 runs, some 7 hours of one core.
batch = {'train_dataloader.batch_size': 32}
metric = 'accuracy/top1'


def task(net, steps, baseline_steps):
    config = f'../cifar10/{net}_cifar10.py'
    baseline = dict(config=config, budget=dict(steps=baseline_steps, warmup=100, schedule='cosine'))
    return dict(config=config, baseline=baseline, metric=metric, options=batch, budget=dict(steps=steps, warmup=20))


tasks = {
    'mobilenet_v2': task('mobilenet-v2', 400, 2500),
    'shufflenet_v2': task('shufflenet-v2-1x', 400, 2500),
    'mobilenet_v3': task('mobilenet-v3-large', 400, 2500),
    'resnet18': task('resnet18', 160, 1000),
}
arms = dict(
    control=dict(),
    refocused=dict(refocus=dict()),
    gain1=dict(refocus=dict(gain=1.0)),  # its directions at the speed of plain fine-tuning
    speed=dict(speed='refocused'),  # its speed in the directions of plain fine-tuning
    both=dict(refocus=dict(gain=1.0), speed='refocused'),  # put together again: to be what `refocused` is
)
seeds = [0, 1, 2]
tune = dict(seeds=[100], grid={'optim_wrapper.optimizer.lr': [0.003, 0.01, 0.03]})
