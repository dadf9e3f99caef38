# python tools/compare.py configs/compare/cifar10.py --jobs 2
#
# Classification: four nets with stems for 32x32 on CIFAR-10 (or a tenth of it, in folders of images), baselines from
# scratch first. Of train/, every fifth image is the validation split; val/ is the test split.
# One thread of a two-core Xeon: 0.2 to 0.25 s a step (ResNet-18: 0.7 s), so a minute a run with its test; 172 runs,
# three hours of one core.
batch = {'train_dataloader.batch_size': 32}
metric = 'accuracy/top1'


def task(net, steps, baseline_steps):
    config = f'../cifar10/{net}_cifar10.py'
    baseline = dict(config=config, budget=dict(steps=baseline_steps, warmup=100, schedule='cosine'))
    return dict(config=config, baseline=baseline, metric=metric, options=batch, budget=dict(steps=steps, warmup=20))


tasks = {
    'mobilenet_v2': task('mobilenet-v2', 200, 1500),
    'shufflenet_v2': task('shufflenet-v2-1x', 200, 1500),
    'mobilenet_v3': task('mobilenet-v3-large', 200, 1500),
    'resnet18': task('resnet18', 80, 600),
}
# Two ways for a kernel to go (plain or refocused) at three speeds (plain, ten times that, that of the paper's layer).
arms = dict(
    control=dict(),
    gain1=dict(refocus=dict(gain=1.0)),
    speed10=dict(speed='gain10'),
    gain10=dict(refocus=dict(gain=10.0)),
    speed=dict(speed='refocused'),
    refocused=dict(refocus=dict()),
)
seeds = [0, 1, 2, 3, 4]
tune = dict(seeds=[100], grid={'optim_wrapper.optimizer.lr': [0.01, 0.03]})
