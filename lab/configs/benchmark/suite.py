# python -m lab benchmark lab/configs/benchmark/suite.py
# `config` is a path from here, or scope::name of an installed library; `size` is (height, width).

_224 = dict(size=(224, 224), batches=(1, 2, 8, 16))

models = dict(
    mobilenet_v2=dict(config='mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py', **_224),
    mobilenet_v3_large=dict(config='mmpretrain::mobilenet_v3/mobilenet-v3-large_8xb128_in1k.py', **_224),
    shufflenet_v2_1x=dict(config='mmpretrain::shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py', **_224),
    resnet18=dict(
        config='mmpretrain::resnet/resnet18_8xb32_in1k.py', size=(224, 224), batches=(1, 2, 4, 8, 16)
    ),
    resnet50=dict(config='mmpretrain::resnet/resnet50_8xb32_in1k.py', size=(224, 224), batches=(1, 2, 4, 8, 16)),
    convnext_tiny=dict(config='mmpretrain::convnext/convnext-tiny_32xb128_in1k.py', **_224),
    efficientnet_b0=dict(config='mmpretrain::efficientnet/efficientnet-b0_8xb32_in1k.py', **_224),
    mit_b0=dict(config='mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py', **_224),
    ssdlite_mobilenetv2=dict(
        config='../../../configs/voc/ssdlite_mobilenetv2_voc0712.py', size=(320, 320), batches=(2, 8)
    ),
    deeplabv3plus_mobilenetv2=dict(
        config='../../../configs/cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py', size=(240, 320), batches=(2, 8)
    ),
)  # fmt: skip
