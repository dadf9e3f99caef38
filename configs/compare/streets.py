# python tools/compare.py configs/compare/streets.py --jobs 2
#
# Segmentation: DeepLabV3+ MobileNetV2-d8 on street scenes (CamVid, 320x240), crops of 160x224.
# Neighbouring frames of a video are nearly the same, so the validation split is a stretch of its own: the last 67 of
# the 367 frames in train/, in the order of their names. val/ is the test split.
# One thread of a busy two-core EPYC: 2.7 s a step, so 4 to 5 minutes a run with its test; 78 runs, some 6 hours of one
# core.
data_root = 'data/camvid/'
split = 'leftImg8bit/train', 'gtFine/train'

tasks = dict(
    streets=dict(
        config='../camvid/deeplabv3plus_mobilenetv2-d8_control_camvid-240x320.py',
        baseline=dict(
            config='../camvid/deeplabv3plus_mobilenetv2-d8_camvid-240x320.py',
            start='data/weights/mobilenet_v2_imagenet.pth',
            budget=dict(steps=300, warmup=20, schedule='poly'),
        ),
        metric='mIoU',
        options={
            'train_dataloader.dataset.data_root': data_root,
            'train_dataloader.dataset.indices': 300,
            'val_dataloader.dataset.data_root': data_root,
            'val_dataloader.dataset.indices': -67,
            'val_dataloader.dataset.data_prefix': dict(img_path=split[0], seg_map_path=split[1]),
            'test_dataloader.dataset.data_root': data_root,
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
tune = dict(seeds=[100, 101], grid={'optim_wrapper.optimizer.lr': [0.001, 0.003, 0.01]})
budget = dict(steps=80, warmup=8, schedule='poly')
