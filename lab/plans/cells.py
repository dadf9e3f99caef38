# python -m lab compare lab/plans/cells.py --jobs 2
#
# Detection: SSDLite-MobileNetV2 on photographs of blood cells (BCCD), at 224 in place of 320, anchors scaled alike.
# BCCD's own lists split it: train.txt (205) trains, val.txt (87) validates, test.txt (72) is reported on.
# One thread of a two-core Xeon: 0.6 s a step, so a minute a run with its test; 31 runs, 45 minutes of one core.
data_root = 'data/VOCdevkit/'
lists = 'VOC2007/ImageSets/Main/'
size = (224, 224)

tasks = dict(
    cells=dict(
        config='../../configs/bccd/ssdlite_mobilenetv2_control_bccd.py',
        baseline=dict(
            config='../../configs/bccd/ssdlite_mobilenetv2_bccd.py',
            start='data/weights/mobilenet_v2_imagenet.pth',
            options={'optim_wrapper.optimizer.lr': 0.02},
            budget=dict(steps=600, warmup=60),
        ),
        metric='pascal_voc/mAP',
        scale=100,
        options={
            'train_dataloader.dataset.data_root': data_root,
            'train_dataloader.dataset.ann_file': lists + 'train.txt',
            'val_dataloader.dataset.data_root': data_root,
            'val_dataloader.dataset.ann_file': lists + 'val.txt',
            'test_dataloader.dataset.data_root': data_root,
            'test_dataloader.dataset.ann_file': lists + 'test.txt',
            'train_dataloader.dataset.pipeline.4.scale': size,
            'val_dataloader.dataset.pipeline.1.scale': size,
            'test_dataloader.dataset.pipeline.1.scale': size,
            'model.bbox_head.anchor_generator.strides': [16, 32, 56, 112, 224, 224],
            'model.bbox_head.anchor_generator.min_sizes': [34, 70, 105, 141, 177, 213],
            'model.bbox_head.anchor_generator.max_sizes': [70, 105, 141, 177, 213, 224],
        },
    ),
)
# Two ways for a kernel to go (plain or refocused) at three speeds (plain, ten times that, that of the paper's layer), at
# the learning rate that the validation split chose for each of them (0.005 or 0.02, with one seed).
rate = {'optim_wrapper.optimizer.lr': 0.005}
arms = dict(
    control=rate,
    gain1=dict(rate, refocus=dict(gain=1.0)),
    speed10=dict(rate, speed='gain10'),
    gain10=dict(rate, refocus=dict(gain=10.0)),
    speed=dict(rate, speed='refocused'),
    refocused=dict(rate, refocus=dict()),
)
seeds = [0, 1, 2, 3, 4]
budget = dict(steps=80, warmup=8)
