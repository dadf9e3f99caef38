"""Detectors of eight kinds: two steps on drawn shapes, fused, tested, and the same boxes on two stacks.

REFCONV_BOXES=FOLDER python -m pytest tests/openmmlab/test_detectors.py -m slow

The first stack that is run with a FOLDER writes its losses and boxes there; the next compares its own with them.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config

from demo.shapes import SHAPES, _scene
from lab.runs import name_run
from refconv_mm.openmmlab.config import drop_pretrained, plain_config
from refconv_mm.openmmlab.models import build_model
from refconv_mm.running.runner import build_runner, leave_process_group, runner_for_checkpoint
from refconv_mm.running.settings import set_init, set_launcher
from tests.conftest import ROOT, run

pytestmark = pytest.mark.slow
SIZE = 128
RESNET = {'backbone.base_channels': 8, 'neck.in_channels': [32, 64, 128, 256]}
FEW = {'num_queries': 20, 'encoder.num_layers': 1, 'decoder.num_layers': 2, 'neck.in_channels': [64, 128, 256]}
ONE_BATCH = dict(type='BN', momentum=1.0)  # statistics of two steps would be far from those of the weights
DETECTORS = {
    'ssd/ssd300_coco': {},
    'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco': {},
    'retinanet/retinanet_r18_fpn_1x_coco': RESNET | {'neck.in_channels': [8, 16, 32, 64]},
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco': RESNET,
    'dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco': RESNET,
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco': RESNET,
    'rtmdet/rtmdet_tiny_8xb32-300e_coco': {f'{part}.norm_cfg': ONE_BATCH for part in ('backbone', 'neck', 'bbox_head')},
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco': RESNET | FEW,
}  # fmt: skip


def make_coco(root: Path) -> str:
    """Draws four images with COCO's annotations; the mask of an object is its box. Returns their file."""
    images, objects = [], []
    for number in range(4):
        image, shapes = _scene(np.random.default_rng(number), SIZE)
        image.save(root / f'{number}.png')
        images.append(dict(id=number, file_name=f'{number}.png', width=SIZE, height=SIZE))
        for shape, (x, y, right, below) in shapes:
            known = dict(id=len(objects) + 1, image_id=number, category_id=SHAPES.index(shape), iscrowd=0)
            bounds = dict(bbox=[x, y, right - x, below - y], area=(right - x) * (below - y))
            objects.append(known | bounds | dict(segmentation=[[x, y, right, y, right, below, x, below]]))
    categories = [dict(id=i, name=name) for i, name in enumerate(SHAPES)]
    (root / 'shapes.json').write_text(json.dumps(dict(images=images, annotations=objects, categories=categories)))
    return str(root / 'shapes.json')


def adapt(node) -> None:
    """Three classes, all layers trained, few boxes, and thresholds of scores that random weights reach."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else ()):
        node[key] = dict(num_classes=3, score_thr=1e-4, max_per_img=20, frozen_stages=-1).get(key, value)
        adapt(value)


def short_config(name: str, shapes: str, work_dir: Path) -> Config:
    """The model of mmdet's config with a refocused small backbone; two steps, then the test on the same images."""
    cfg, masks, side = get_config(f'mmdet::{name}.py'), 'mask' in name, 300 if 'ssd300' in name else SIZE
    drop_pretrained(cfg.model), adapt(cfg.model)
    cfg.merge_from_dict({f'model.{key}': value for key, value in DETECTORS[name].items()})
    inner = dict(cfg.model.backbone, type=f'mmdet.{cfg.model.backbone.type}')
    offsets = ['*conv_offset'] if 'dcn' in name else []  # zeros, which nothing can refocus
    backbone = dict(type='RefocusedBackbone', kinds=['depthwise', 'dense'], exclude=offsets, backbone=inner)
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=masks)]
    steps += [dict(type='Resize', scale=(side, side), keep_ratio=False), dict(type='PackDetInputs')]
    images = dict(type='CocoDataset', ann_file=shapes, data_prefix=dict(img=f'{Path(shapes).parent}/'))
    images.update(metainfo=dict(classes=SHAPES), pipeline=steps)
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=images)
    cfg = Config(dict(
        model=dict(cfg.model.to_dict(), backbone=backbone), default_scope='mmdet', work_dir=str(work_dir),
        custom_imports=dict(imports=['refconv_mm']), randomness=dict(seed=0), log_level='ERROR',
        train_dataloader=loader, test_dataloader=loader,
        test_evaluator=dict(type='CocoMetric', ann_file=shapes, metric=['bbox', 'segm'] if masks else 'bbox'),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2), test_cfg=dict(type='TestLoop'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01), clip_grad=dict(max_norm=1.0)),
        default_hooks=dict(refconv=dict(type='RefConvHook')),
    ))  # fmt: skip
    name_run(cfg, Path(name).name)
    return cfg


def train(cfg: Config, start: str) -> list[float]:
    """Trains from a plain checkpoint; returns the losses."""
    set_init(cfg, start)
    runner = build_runner(cfg)
    runner.train()
    return runner.message_hub.get_scalar('train/loss')._log_history.tolist()


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_trains_is_fused_and_finds_the_boxes_of_the_other_stack(name, tmp_path):
    shapes, start = make_coco(tmp_path), str(tmp_path / 'start.pth')
    cfg = short_config(name, shapes, tmp_path / 'run')
    torch.manual_seed(0)
    model = build_model(plain_config(cfg))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), start)
    losses = train(cfg, start)
    plain = Config.fromfile(tmp_path / 'run' / 'fused.py')
    plain.work_dir = cfg.work_dir
    runner, _ = runner_for_checkpoint(plain, str(tmp_path / 'run' / 'fused.pth'))
    found, step = [], runner.model.test_step
    runner.model.test_step = lambda data: [found.append(s.pred_instances) or s for s in step(data)]
    assert 0 <= runner.test()['coco/bbox_mAP'] <= 1
    boxes = [torch.cat([each.bboxes, each.scores[:, None], each.labels[:, None]], 1) for each in found]
    assert all(map(len, boxes))
    if name.startswith('dcn'):
        command = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2, '-m', __name__)
        run(*command, name, shapes, tmp_path / 'two', start, PYTHONPATH=str(ROOT))
        assert (tmp_path / 'two' / 'fused.pth').is_file()
    if folder := os.environ.get('REFCONV_BOXES'):
        path, found = Path(folder) / f'{Path(name).name}.pth', dict(losses=losses, boxes=boxes)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(found, path)
        # Rounding of 1e-6 in an op moves a box by less than a thousandth of a pixel in two steps.
        torch.testing.assert_close(found, torch.load(path), rtol=1e-4, atol=1e-3)


if __name__ == '__main__':  # one of two processes
    cfg = short_config(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    set_launcher(cfg, 'pytorch')
    train(cfg, sys.argv[4])
    leave_process_group()
