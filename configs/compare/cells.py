# python tools/compare.py configs/compare/cells.py --jobs 2
#
# Detection: SSDLite-MobileNetV2 on photographs of blood cells (BCCD), at 320.
# BCCD's own lists split it: train.txt (205) trains, val.txt (87) tunes, test.txt (72) is reported on.
# One thread of a busy two-core EPYC: 1.8 s a step, so 4 to 5 minutes a run with its tests; 78 runs, some 6 hours of one
# core.
data_root = 'data/VOCdevkit/'
lists = 'VOC2007/ImageSets/Main/'

tasks = dict(
    cells=dict(
        config='../bccd/ssdlite_mobilenetv2_control_bccd.py',
        baseline=dict(
            config='../bccd/ssdlite_mobilenetv2_bccd.py',
            start='data/weights/mobilenet_v2_imagenet.pth',
            budget=dict(steps=400, warmup=50),
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
        },
    ),
)
arms = dict(
    control=dict(),
    refocused=dict(refocus=dict()),
    gain1=dict(refocus=dict(gain=1.0)),  # its directions at the speed of plain fine-tuning
    speed=dict(speed='refocused'),  # its speed in the directions of plain fine-tuning
    both=dict(refocus=dict(gain=1.0), speed='refocused'),  # put together again: to be what `refocused` is
    control2=dict(start='control', against=None),
    refocused2=dict(start='refocused', refocus=dict(), against='control2'),  # the result is the new basis
)
seeds = [0, 1, 2, 3, 4]
tune = dict(seeds=[100, 101], grid={'optim_wrapper.optimizer.lr': [0.001, 0.005, 0.02]})
budget = dict(steps=120, warmup=12, val_every=60)
