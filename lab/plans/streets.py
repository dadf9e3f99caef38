# python -m lab compare lab/plans/streets.py --jobs 2
#
# Segmentation: DeepLabV3+ MobileNetV2-d8 on street scenes (CamVid, 320x240), crops of 160x224, heads of a quarter of
# the width.
# Neighbouring frames of a video are nearly the same, so the validation split is a stretch of its own: the last 67 of
# the 367 frames in train/, in the order of their names. val/ is the test split.
# One thread of a two-core Xeon: 0.8 s a step, so 80 seconds a run with its test; 31 runs, 40 minutes of one core.
data_root = 'data/camvid/'
split = 'leftImg8bit/train', 'gtFine/train'

tasks = dict(
    streets=dict(
        config='../../configs/camvid/deeplabv3plus_mobilenetv2-d8_control_camvid-240x320.py',
        baseline=dict(
            config='../../configs/camvid/deeplabv3plus_mobilenetv2-d8_camvid-240x320.py',
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
            'model.decode_head.channels': 128,
            'model.auxiliary_head.channels': 64,
        },
    ),
)
# Two ways for a kernel to go (plain or refocused) at three speeds (plain, ten times that, that of the paper's layer), at
# the learning rate that the validation split chose for each of them with one seed. That chooses badly: see streets_lr.py.
low, high = {'optim_wrapper.optimizer.lr': 0.01}, {'optim_wrapper.optimizer.lr': 0.03}
arms = dict(
    control=low,
    gain1=dict(high, refocus=dict(gain=1.0)),
    speed10=dict(low, speed='gain10'),
    gain10=dict(high, refocus=dict(gain=10.0)),
    speed=dict(low, speed='refocused'),
    refocused=dict(high, refocus=dict()),
)
seeds = [0, 1, 2, 3, 4]
budget = dict(steps=60, warmup=6, schedule='poly')
