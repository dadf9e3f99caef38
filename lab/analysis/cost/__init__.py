"""What any models cost beside each other: parameters, multiply-adds, training, inference, memory.

cost configs/imagenet/mobilenetv2_imagenet.py configs/imagenet/mobilenetv2_refconv_imagenet.py
    mmpretrain::mobilenet_v3/mobilenet-v3-large_8xb128_in1k.py --names plain,refconv,v3 --out-dir work_dirs/cost
-> cost.md, cost.json, cost.png; times are ratios to the first config's

Take any config whose model trains on images, labels and boxes: a path, or scope::name of an installed library.
Nets with attention:  SE: mmpretrain::seresnet/seresnet50_8xb32_in1k.py, MobileNetV3 (its blocks hold SE layers);
    others in a ResNet of mmdet or mmseg: model.backbone.plugins=[dict(cfg=dict(type='ContextBlock', ratio=1 / 16),
    stages=(False, True, True, True), position='after_conv3')]; a block of your own, CBAM say, in the same place, its
    class registered with mmengine.registry's MODELS in a module on PYTHONPATH that the config's custom_imports names.
Re-parameterised nets:  mmpretrain::repvgg/repvgg-A0_8xb32_in1k.py, mobileone; inference is that of the deployed form.
What refocusing alone costs, form by form, is measured by -m lab benchmark.
"""

from dataclasses import dataclass

from ..common.options import Analysis, option


@dataclass(frozen=True)
class CostOptions:
    """The made images, and the time that is measured."""

    size: tuple[int, int] = option((224, 224), 'height and width of the images', count=2)
    batch: int = option(8, 'images a training step and a forward pass')
    seconds: float = option(30.0, 'timed part of training; that of inference takes half of it')

    def __post_init__(self) -> None:
        if self.batch < 1 or min(self.size) < 1 or not self.seconds > 0:
            raise ValueError(
                f'--batch, --size and --seconds must be positive, got {self.batch}, {self.size}, {self.seconds}'
            )


ANALYSIS = Analysis(
    name='cost',
    title='Cost of models',
    text=__doc__,
    source='models',
    options=CostOptions,
    captions=dict(cost='Size, memory and time of each model'),
)
