# python tools/train.py configs/voc/ssd300_mobilenetv2_voc0712.py
#
# The baseline: SSD300 with a MobileNetV2 backbone on Pascal VOC 07+12, from ImageNet weights.
_base_ = 'mmdet::pascal_voc/ssd300_voc0712.py'

data_root = 'data/VOCdevkit/'  # the line to edit: a folder with VOC2007/ and VOC2012/

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    # mmpretrain's MobileNetV2: the same net as mmdet's, with the names that ImageNet checkpoints have.
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MobileNetV2',
        out_indices=(4, 7),
        init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    neck=dict(
        in_channels=(96, 1280),
        out_channels=(96, 1280, 512, 256, 256, 128),
        level_strides=(2, 2, 2, 2),
        level_paddings=(1, 1, 1, 1),
        l2_norm_scale=None,
    ),
    bbox_head=dict(
        in_channels=(96, 1280, 512, 256, 256, 128), anchor_generator=dict(strides=[16, 30, 60, 100, 150, 300])
    ),
)

# Boxes of no size, as real data sets have them, would turn the loss into NaN.
filter_cfg = dict(filter_empty_gt=True, min_size=32, bbox_min_size=1)
trainval = dict(type='VOCDataset', data_root=data_root, filter_cfg=filter_cfg, pipeline={{_base_.train_pipeline}})
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        dataset=dict(
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
            ]
        )
    ),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', begin=0, T_max=24, end=24, by_epoch=True, eta_min=0),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
