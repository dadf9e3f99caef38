# python tools/train.py configs/bccd/ssdlite_mobilenetv2_bccd.py --init mobilenet_v2_imagenet.pth
#
# A data set of one's own in the VOC layout: BCCD, blood cells (github.com/Shenggan/BCCD_Dataset, MIT), on a CPU.
# Against the VOC config: data root, classes, schedule, batch and the normalisation of the weights.
_base_ = '../voc/ssdlite_mobilenetv2_voc0712.py'

data_root = 'data/VOCdevkit/'  # the line to edit: a folder with VOC2007/
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'), palette=[(220, 20, 60), (119, 11, 32), (0, 0, 142)])

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    bbox_head=dict(num_classes=len(metainfo['classes'])),
)
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='VOCDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=1),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = val_dataloader
# 0.5 is VOC's; the others tell models apart that find everything at 0.5.
val_evaluator = dict(iou_thrs=[0.5, 0.6, 0.7, 0.75, 0.8])
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=20, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=2), logger=dict(interval=10))
optim_wrapper = dict(optimizer=dict(lr=0.005))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=74),
    dict(type='CosineAnnealingLR', begin=0, T_max=20, end=20, by_epoch=True, eta_min=0),
]
env_cfg = dict(cudnn_benchmark=False)
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
