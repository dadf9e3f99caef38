# python -m lab compare lab/plans/cifar10.py --jobs 2
#
# Classification: four nets with stems for 32x32 on CIFAR-10 (or a tenth of it, in folders of images), baselines from
# scratch first. All but MobileNetV3 at half their width. Of train/, every fifth image is the validation split; val/ is
# the test split.
# One thread of a two-core Xeon: 0.1 s a step (MobileNetV3: 0.2 s), so 50 seconds a run with its test; 144 runs, two
# hours of one core.
metric = 'accuracy/top1'


def task(net, steps, baseline_steps, **narrower):
    config = f'../configs/cifar10/{net}_cifar10.py'
    baseline = dict(config=config, budget=dict(steps=baseline_steps, warmup=100, schedule='cosine'))
    options = {'train_dataloader.batch_size': 32, **narrower}
    return dict(config=config, baseline=baseline, metric=metric, options=options, budget=dict(steps=steps, warmup=20))


half = {'model.backbone.backbone.widen_factor': 0.5}
half_resnet = {'model.backbone.stem_channels': 32, 'model.backbone.base_channels': 32, 'model.head.in_channels': 256}
tasks = {
    'mobilenet_v2': task('mobilenet-v2', 250, 2500, **half),
    'shufflenet_v2': task('shufflenet-v2-1x', 250, 2500, **half),
    'mobilenet_v3': task('mobilenet-v3-large', 200, 1500),
    'resnet18': task('resnet18', 150, 1500, **half_resnet),
}
# Two ways for a kernel to go (plain or refocused) at two speeds (plain, that of the paper's layer), and at two learning
# rates, of which none is chosen: on 2,000 images a tuning seed or two choose by chance.
low, high = {'optim_wrapper.optimizer.lr': 0.01}, {'optim_wrapper.optimizer.lr': 0.03}
arms = {
    'control': low,
    'gain1': dict(low, refocus=dict(gain=1.0)),
    'speed': dict(low, speed='refocused'),
    'refocused': dict(low, refocus=dict()),
    'control, lr 0.03': dict(high, against=None),
    'gain1, lr 0.03': dict(high, refocus=dict(gain=1.0), against='control, lr 0.03'),
    'refocused, lr 0.03': dict(high, refocus=dict(), against='control, lr 0.03'),
}
seeds = [0, 1, 2, 3, 4]
