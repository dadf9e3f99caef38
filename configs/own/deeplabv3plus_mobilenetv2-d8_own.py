# python tools/train.py configs/own/deeplabv3plus_mobilenetv2-d8_own.py
#
# A segmenter of your own masks, in folders or in the Cityscapes layout (docs/data.md): DeepLabV3+ MobileNetV2-d8 from
# ImageNet weights.
_base_ = '../cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py'

from refconv_mm.data.layouts import detect_layout
from refconv_mm.image_size import resized

data_root = 'data/masks/'  # the line to edit: classes and splits are read from there
crop_size = (256, 256)  # height and width of the images, in training, test, fusing and export
data = detect_layout(data_root)

num_classes, norm_cfg = len(data.classes), dict(type='BN')
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=dict(num_classes=num_classes, norm_cfg=norm_cfg),
    auxiliary_head=dict(num_classes=num_classes, norm_cfg=norm_cfg),
)
train_pipeline = resized(_base_.train_pipeline, crop_size)
test_pipeline = resized(_base_.test_pipeline, crop_size)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(_delete_=True, **data.dataset('train'), pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **data.dataset('val'), pipeline=test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **data.dataset('test'), pipeline=test_pipeline))
del data  # a config holds plain values only

train_cfg = dict(max_iters=2000, val_interval=500)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=2000, by_epoch=False)]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=500, max_keep_ckpts=1))
env_cfg = dict(cudnn_benchmark=False)
