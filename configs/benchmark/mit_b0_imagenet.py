# python tools/benchmark.py configs/benchmark/suite.py --only mit_b0
# SegFormer's backbone as a classifier, for the benchmark only: no library has a config of it.

default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmseg.MixVisionTransformer',
        embed_dims=32,
        num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8],
        out_indices=(3,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=1000, in_channels=256, loss=dict(type='CrossEntropyLoss', loss_weight=1.0)
    ),
)
