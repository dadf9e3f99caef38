# python tools/train.py configs/own/ssdlite_mobilenetv2_own.py
#
# A detector of your own boxes in the COCO, YOLO or VOC layout (docs/data.md): SSDLite-MobileNetV2 from ImageNet weights.
_base_ = '../voc/ssdlite_mobilenetv2_voc0712.py'

from refconv_mm.data.layouts import detect_layout
from refconv_mm.image_size import resized, ssdlite_anchors

data_root = 'data/boxes/'  # the line to edit: classes and splits are read from there
input_size = 320  # the side of the images, in training, test, fusing and export
data = detect_layout(data_root)

custom_imports = dict(imports=['refconv_mm.data.layouts'], allow_failed_imports=False)  # reads YOLO's files
model = dict(bbox_head=dict(num_classes=len(data.classes), anchor_generator=ssdlite_anchors(input_size)))
train_pipeline = resized(_base_.train_pipeline, input_size)
test_pipeline = resized(_base_.test_pipeline, input_size)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(_delete_=True, **data.dataset('train'), pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **data.dataset('val'), pipeline=test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **data.dataset('test'), pipeline=test_pipeline))
# COCO's thresholds. VOCMetric takes the boxes from the data set, whatever its layout.
val_evaluator = dict(iou_thrs=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
test_evaluator = val_evaluator
del data  # a config holds plain values only

train_cfg = dict(max_epochs=20, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=1), logger=dict(interval=10))
optim_wrapper = dict(optimizer=dict(lr=0.005))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', begin=0, T_max=20, end=20, by_epoch=True, eta_min=0),
]
env_cfg = dict(cudnn_benchmark=False)
auto_scale_lr = dict(base_batch_size=8)
