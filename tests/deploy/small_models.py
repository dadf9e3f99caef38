"""Small models of the three libraries, refocused, with checkpoints as after training."""

from mmengine.config import Config
from torch import nn

from refconv_mm import RefConv2d
from refconv_mm.openmmlab.models import build_model
from tests.conftest import detector, segmenter

REFCONV = dict(type='RefConv', init='kaiming', gain=None, kinds=['depthwise', 'dense'])
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
SSD = dict(
    type='SSDHead', in_channels=(16, 32), num_classes=3, use_depthwise=True, norm_cfg=dict(type='BN'),
    anchor_generator=dict(
        type='SSDAnchorGenerator', scale_major=False, strides=[8, 16], ratios=[[2], [2, 3]], min_sizes=[20, 40],
        max_sizes=[40, 90],
    ),
)  # fmt: skip


def resnet(scope: str, stages: int = 2, **options) -> dict:
    """Few convolutions of few channels; stages of 8, 16 and 32 channels with strides of 4, 8 and 16."""
    small = dict(depth=18, base_channels=8, stem_channels=8, num_stages=stages, norm_cfg=dict(type='BN'))
    steps = dict(strides=(1, 2, 2)[:stages], dilations=(1,) * stages, out_indices=range(stages))
    return dict(type=f'{scope}.ResNet', conv_cfg=dict(REFCONV), **small, **(steps | options))


def small_classifier(images, work_dir, channels: int = 3) -> Config:
    """A classifier of the images under `images/<class>/`, whose preprocessor stands beside the model."""
    steps = [
        dict(type='LoadImageFromFile', color_type='color' if channels == 3 else 'grayscale'),
        dict(type='Resize', scale=(48, 48)),
        dict(type='PackInputs'),
    ]
    loader = dict(
        batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='CustomDataset', data_root=str(images), pipeline=steps),
    )  # fmt: skip
    model = dict(
        type='ImageClassifier',
        backbone=resnet('mmpretrain', out_indices=(1,), in_channels=channels),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=16, topk=(1,)),
    )
    preprocessor = dict(num_classes=3, mean=MEAN[:channels], std=STD[:channels], to_rgb=channels == 3)
    return Config(dict(
        default_scope='mmpretrain', work_dir=str(work_dir), log_level='ERROR', model=model,
        data_preprocessor=preprocessor, test_dataloader=loader, test_cfg=dict(),
        test_evaluator=dict(type='Accuracy', topk=(1,)), custom_imports=dict(imports=['refconv_mm']),
    ))  # fmt: skip


def small_segmenter(city, work_dir) -> Config:
    cfg = segmenter(city, work_dir)
    head = dict(type='FCNHead', in_channels=16, in_index=1, channels=8, num_classes=19, norm_cfg=dict(type='BN'))
    cfg.model.backbone, cfg.model.decode_head, cfg.model.auxiliary_head = resnet('mmseg'), head, None
    return cfg


def small_detector(voc, work_dir) -> Config:
    """An SSD for images of 96 x 96, whose boxes overlap."""
    cfg = detector(voc, work_dir)
    cfg.model = dict(
        type='SingleStageDetector',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True),
        backbone=resnet('mmdet', 3, out_indices=(1, 2)),
        bbox_head=SSD,
        test_cfg=dict(
            nms_pre=300, score_thr=0.1, nms=dict(type='nms', iou_threshold=0.45), max_per_img=40, min_bbox_size=0
        ),
    )
    cfg.test_dataloader.dataset.pipeline[1].scale = (96, 96)
    return cfg


def checkpoint_of(cfg: Config) -> dict:
    """A checkpoint as after training: learned running statistics, and last layers that tell the classes apart."""
    model = build_model(cfg)
    for name, module in model.named_modules():
        if isinstance(module, RefConv2d):
            module.restart()  # draws the random initialization
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        elif name.endswith(('conv_seg', 'head.fc')):
            module.weight.data.normal_()
    return dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('a', 'b', 'c'))))
