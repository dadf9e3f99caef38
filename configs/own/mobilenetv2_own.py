# python tools/train.py configs/own/mobilenetv2_own.py --init mobilenetv2.pth
#
# A classifier of your own folders, a folder for each class (docs/data.md): MobileNetV2 from ImageNet weights.
_base_ = '../imagenet/mobilenetv2_imagenet.py'

from refconv_mm.data.layouts import detect_layout
from refconv_mm.image_size import resized

data_root = 'data/classes/'  # the line to edit: classes and splits are read from there
input_size = 224  # the side of the images, in training, test, fusing and export
data = detect_layout(data_root)

model = dict(head=dict(num_classes=len(data.classes), topk=(1,)))
data_preprocessor = dict(num_classes=len(data.classes))
train_pipeline = resized(_base_.train_pipeline, input_size)
test_pipeline = resized(_base_.test_pipeline, input_size)
train_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **data.dataset('train'), pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **data.dataset('val'), pipeline=test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **data.dataset('test'), pipeline=test_pipeline))
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
del data  # a config holds plain values only

train_cfg = dict(max_epochs=20, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=1), logger=dict(interval=10))
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=20, by_epoch=True, begin=0, end=20)]
auto_scale_lr = dict(base_batch_size=32)
