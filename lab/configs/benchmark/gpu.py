# python -m lab benchmark lab/configs/benchmark/gpu.py
# The cases for a GPU, which --device cuda takes: a large and a small batch, mixed precision, channels last, compiled.

_options = {
    '': dict(),
    '-amp': dict(amp=True),
    '-channels-last': dict(channels_last=True),
    '-amp-channels-last': dict(amp=True, channels_last=True),
    '-compiled': dict(compiled=True),
}
_nets = dict(
    mobilenet_v2=dict(config='mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py', batches=(8, 128)),
    resnet50=dict(config='mmpretrain::resnet/resnet50_8xb32_in1k.py', batches=(64,)),  # with its dense layers
)
models = {
    net + name: dict(case, size=(224, 224), options=options)
    for net, case in _nets.items()
    for name, options in _options.items()
}
