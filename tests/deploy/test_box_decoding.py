"""Boxes that are decoded in the graph are those of mmdet's own post-processing."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope

from refconv_mm.deploy.box_decoding import decode_boxes
from refconv_mm.deploy.end_to_end import PREDICTIONS
from refconv_mm.deploy.onnx_graph import largest_difference
from tests.conftest import needs_new_torch

from .small_models import SSD

pytestmark = needs_new_torch
ANCHORS = dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[0.5, 1.0], strides=[8, 16])
SMALL = dict(num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1)
CENTRES = dict(type='CrossEntropyLoss', use_sigmoid=True)
FCOS = dict(strides=(8, 16), regress_ranges=((-1, 64), (64, 1e8)), norm_cfg=dict(type='BN'))
ATSS = dict(loss_centerness=CENTRES, norm_cfg=dict(type='BN'), anchor_generator=dict(ANCHORS, ratios=[1.0]))
HEADS = dict(
    ssd=SSD,
    retina=dict(SMALL, type='RetinaHead', anchor_generator=ANCHORS),
    atss=dict(SMALL, type='ATSSHead', **ATSS),
    fcos=dict(SMALL, type='FCOSHead', **FCOS),
)


def head_and_outputs(name: str, **test_cfg) -> tuple:
    nms = dict(type='nms', iou_threshold=0.5)
    cfg = ConfigDict(dict(nms_pre=60, score_thr=0.3, nms=nms, max_per_img=30) | test_cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(dict(HEADS[name], test_cfg=cfg))
    with torch.no_grad():
        channels = (16, 32) if name == 'ssd' else (8, 8)
        outputs = head(tuple(torch.randn(2, c, s, s) for c, s in zip(channels, (12, 6), strict=True)))
    # Random weights give scores that are nearly the same.
    outputs = tuple([3 * torch.randn_like(level) for level in levels] for levels in outputs)
    if name == 'fcos':  # distances to the sides
        outputs = (outputs[0], [10 * level.abs() for level in outputs[1]], outputs[2])
    return head, outputs


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('test_cfg', [
    {}, dict(nms_pre=1000, score_thr=0.01), dict(min_bbox_size=0), dict(max_per_img=3), dict(score_thr=1.0),
    dict(nms=dict(type='nms', iou_threshold=0.3, class_agnostic=True)),
], ids=str)  # fmt: skip
def test_boxes_are_those_of_mmdet(name, test_cfg):
    head, outputs = head_and_outputs(name, **test_cfg)
    if name == 'ssd':
        head.loss_cls = None
    metas = [dict(img_shape=(96, 96), scale_factor=(1.0, 1.0))] * 2
    with torch.no_grad():
        expected = head.predict_by_feat(*outputs, batch_img_metas=metas)
        boxes, scores, labels = decode_boxes(head, *outputs, image_shape=(96, 96))
    assert boxes.shape[1] == scores.shape[1] == labels.shape[1] <= head.test_cfg.max_per_img
    for image, wanted in enumerate(expected):
        n = len(wanted)
        torch.testing.assert_close(scores[image, :n], wanted.scores)
        torch.testing.assert_close(boxes[image, :n], wanted.bboxes)
        assert torch.equal(labels[image, :n], wanted.labels)
        assert (labels[image, n:] == -1).all()
        assert not scores[image, n:].any()
        assert not boxes[image, n:].any()
    assert (len(expected[0]) == 0) == (test_cfg.get('score_thr') == 1.0)


def test_boxes_that_differ_are_found():
    head, outputs = head_and_outputs('retina')
    with torch.no_grad():
        one = dict(zip(PREDICTIONS['bbox_head'], decode_boxes(head, *outputs, image_shape=(96, 96)), strict=True))
    reversed_order = {name: value.flip(1) for name, value in one.items()}
    assert largest_difference(one, one) == largest_difference(one, reversed_order) == 0
    for name, change in (('boxes', 10.0), ('scores', 0.1), ('labels', 1)):
        other = copy.deepcopy(one)
        other[name][0, :3] += change
        assert largest_difference(one, other) > 0.05
    nothing = dict(one, labels=torch.full_like(one['labels'], -1))
    assert largest_difference(one, nothing) == largest_difference(nothing, one) == 1.0
    assert largest_difference(nothing, nothing) == 0.0
