# python tools/train.py configs/voc/ssdlite_mobilenetv2_voc0712.py
#
# The baseline: SSDLite-MobileNetV2 at 320 on Pascal VOC 07+12, from ImageNet weights.
_base_ = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'

data_root = 'data/VOCdevkit/'  # the line to edit: a folder with VOC2007/ and VOC2012/

model = dict(
    # mmpretrain's MobileNetV2: the same net as mmdet's, with the names that ImageNet checkpoints have.
    backbone=dict(
        type='mmpretrain.MobileNetV2',
        norm_cfg=dict(type='BN', eps=1e-5, momentum=0.03),  # the eps that the ImageNet weights were trained with
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    bbox_head=dict(num_classes=20),
)
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline

# Boxes of no size, as real data sets have them, would turn the loss into NaN.
filter_cfg = dict(filter_empty_gt=True, min_size=32, bbox_min_size=1)
trainval = dict(type='VOCDataset', data_root=data_root, filter_cfg=filter_cfg, pipeline=train_pipeline)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=10,
        dataset=dict(
            type='ConcatDataset',
            ignore_keys=['dataset_type'],
            datasets=[
                dict(
                    ann_file='VOC2007/ImageSets/Main/trainval.txt',
                    data_prefix=dict(sub_data_root='VOC2007/'),
                    **trainval,
                ),
                dict(
                    ann_file='VOC2012/ImageSets/Main/trainval.txt',
                    data_prefix=dict(sub_data_root='VOC2012/'),
                    **trainval,
                ),
            ],
        ),
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='VOCDataset',
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP', eval_mode='area')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=24, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', begin=0, T_max=24, end=24, by_epoch=True, eta_min=0),
]
auto_scale_lr = dict(enable=False, base_batch_size=24)
