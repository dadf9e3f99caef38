"""Predictions in the graph are those of the model's own post-processing."""

import copy
import json
import re

import onnx
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

from refconv_mm.deploy import decoding as D
from refconv_mm.openmmlab.config import plain_config
from refconv_mm.files.errors import CheckpointError, ExportError
from refconv_mm.deploy.export import export_checkpoint, write_onnx
from refconv_mm.openmmlab.models import build_model
from refconv_mm.deploy.graph import _prove, raw_outputs
from refconv_mm.deploy.onnx_model import RECORD, OnnxModel
from refconv_mm.deploy.onnx_runner import runner_for_test

from tests.conftest import ROOT, needs_new_torch
from tests.deploy.test_export import (
    MEAN,
    STD,
    checkpoint_of,
    images,
    resnet,
    tiny_classifier,
    tiny_detector,
    tiny_segmenter,
    trained,
)

pytestmark = needs_new_torch
__all__ = ['images']  # a fixture
SSD = dict(
    type='SSDHead', in_channels=(16, 32), num_classes=3, use_depthwise=True, norm_cfg=dict(type='BN'),
    anchor_generator=dict(
        type='SSDAnchorGenerator', scale_major=False, strides=[8, 16], ratios=[[2], [2, 3]], min_sizes=[20, 40],
        max_sizes=[40, 90],
    ),
)  # fmt: skip


def tiny_ssd(voc, work_dir) -> Config:
    """An SSD of few channels for images of 96 x 96, whose boxes come close to each other and overlap."""
    cfg = tiny_detector(voc, work_dir)
    nms = dict(type='nms', iou_threshold=0.45)
    cfg.model = dict(
        type='SingleStageDetector',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True),
        backbone=resnet('mmdet', (1, 2)),
        bbox_head=SSD,
        test_cfg=dict(nms_pre=300, score_thr=0.1, nms=nms, max_per_img=40, min_bbox_size=0),
    )
    cfg.test_dataloader.dataset.pipeline[1].scale = (96, 96)
    return cfg


# -- boxes -------------------------------------------------------------------------------------------------

ANCHORS = dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[0.5, 1.0], strides=[8, 16])
HEADS = dict(
    ssd=SSD,
    retina=dict(type='RetinaHead', num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1,
                anchor_generator=ANCHORS),
    atss=dict(type='ATSSHead', num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1,
              loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True), norm_cfg=dict(type='BN'),
              anchor_generator=dict(ANCHORS, ratios=[1.0])),
    fcos=dict(type='FCOSHead', num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1, strides=(8, 16),
              regress_ranges=((-1, 64), (64, 1e8)), norm_cfg=dict(type='BN')),
)  # fmt: skip


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
        boxes, scores, labels = D.decode_boxes(head, *outputs, image_shape=(96, 96))
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
        one = dict(zip(D.OUTPUTS['bbox_head'], D.decode_boxes(head, *outputs, image_shape=(96, 96)), strict=True))
    turned = {name: value.flip(1) for name, value in one.items()}
    assert D.decoded_difference(one, one) == D.decoded_difference(one, turned) == 0
    for name, change in (('boxes', 10.0), ('scores', 0.1), ('labels', 1)):
        other = copy.deepcopy(one)
        other[name][0, :3] += change
        assert D.decoded_difference(one, other) > 0.05
    nothing = dict(one, labels=torch.full_like(one['labels'], -1))
    assert D.decoded_difference(one, nothing) == D.decoded_difference(nothing, one) == 1.0
    assert D.decoded_difference(nothing, nothing) == 0.0


# -- the graph and its test --------------------------------------------------------------------------------


class Case:
    """A plain config, a checkpoint on disk, and its ONNX model from pixels to predictions."""

    def __init__(self, cfg: Config, folder, shape: tuple[int, int]):
        torch.manual_seed(0)
        self.cfg = plain_config(cfg)
        checkpoint = dict(state_dict=trained(build_model(self.cfg)).state_dict(), meta={})
        self.checkpoint = folder / 'plain.pth'
        torch.save(checkpoint, self.checkpoint)
        exported = export_checkpoint(self.cfg, checkpoint, shape=shape, decode=True, normalize=True)
        self.path, self.record = write_onnx(exported, folder / 'model.onnx'), exported.record

    def tested(self, path) -> tuple[dict, list]:
        """Metrics, and the predictions for the first batch."""
        runner, _ = runner_for_test(self.cfg, str(path))
        metrics = runner.test()
        with torch.no_grad():
            return metrics, runner.model.test_step(next(iter(runner.test_dataloader)))


@pytest.fixture(scope='module')
def cls(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp('cls')
    return Case(tiny_classifier(images, folder), folder, (48, 48))


@pytest.fixture(scope='module')
def seg(city, tmp_path_factory):
    folder = tmp_path_factory.mktemp('seg')
    return Case(tiny_segmenter(city, folder), folder, (64, 96))


@pytest.fixture(scope='module')
def det(voc, tmp_path_factory):
    folder = tmp_path_factory.mktemp('det')
    return Case(tiny_ssd(voc, folder), folder, (96, 96))


def shapes(path) -> dict:
    session = OnnxModel.read(path)._session
    return {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}


def test_outputs_have_their_names_and_shapes(cls, seg, det):
    image = dict(inputs=['batch', 3, 'height', 'width'])
    assert shapes(cls.path) == image | dict(scores=['batch', 3], labels=['batch'])
    assert shapes(seg.path) == image | dict(labels=['batch', 'height', 'width'])
    assert shapes(det.path) == dict(
        inputs=['batch', 3, 96, 96], boxes=['batch', 40, 4], scores=['batch', 40], labels=['batch', 40]
    )
    assert [n.op_type for n in onnx.load(det.path).graph.node].count('NonMaxSuppression') == 1
    assert det.record['dynamic'] == ['batch']
    assert det.record['decoded'] is True
    assert det.record['input']['graph_normalizes'] is True


def test_the_scores_of_the_test_are_those_of_the_checkpoint(cls, seg, det):
    for case in (cls, seg, det):
        metrics, expected = case.tested(case.checkpoint)
        again, got = case.tested(case.path)
        assert again == metrics
        for one, other in zip(expected, got, strict=True):
            if case is cls:
                torch.testing.assert_close(other.pred_score, one.pred_score, rtol=1e-4, atol=1e-5)
                assert torch.equal(other.pred_label, one.pred_label)
            elif case is seg:
                differ = other.pred_sem_seg.data != one.pred_sem_seg.data
                assert differ.double().mean() <= 1e-3  # logits that are equal up to rounding
            else:
                assert len(one.pred_instances) > 3
                torch.testing.assert_close(other.pred_instances.scores, one.pred_instances.scores, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(other.pred_instances.bboxes, one.pred_instances.bboxes, rtol=1e-4, atol=1e-2)
                assert torch.equal(other.pred_instances.labels, one.pred_instances.labels)


def test_a_graph_that_normalizes_takes_pixels(cls):
    raw = build_model(cls.cfg)
    module = D.Deployed(raw, 'head', mean=raw.data_preprocessor.mean, std=raw.data_preprocessor.std)
    pixels = torch.randint(0, 256, (2, 3, 48, 48)).float()
    with torch.no_grad():
        expected = raw((pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1), mode='tensor')
        torch.testing.assert_close(module(pixels), expected)


def test_another_model_is_refused(cls, det):
    more = copy.deepcopy(det.cfg)
    more.model.bbox_head.num_classes = 4
    with pytest.raises(CheckpointError, match='has 3 classes, and the model of the config 4'):
        runner_for_test(more, str(det.path))
    fewer = copy.deepcopy(det.cfg)
    fewer.model.test_cfg.max_per_img = 10
    with pytest.raises(CheckpointError, match=r"not of the config's model.*'boxes': \(1, 40, 4\)"):
        runner_for_test(fewer, str(det.path))


# -- refusals ----------------------------------------------------------------------------------------------


def refusal(cfg: Config, kind: str) -> str:
    with pytest.raises(ExportError) as error:
        D.Deployed(build_model(plain_config(cfg)), kind, decode=True)
    return str(error.value)


def test_what_cannot_be_decoded_is_refused(voc, city, images, tmp_path):
    cfg = tiny_ssd(voc, tmp_path)
    cfg.model.test_cfg.nms.type = 'soft_nms'
    assert 'only plain NMS becomes ONNX' in refusal(cfg, 'bbox_head')
    cfg = tiny_ssd(voc, tmp_path)
    cfg.model.test_cfg.min_bbox_size = 4
    assert 'min_bbox_size is in pixels of the original image' in refusal(cfg, 'bbox_head')
    assert 'SingleStageDetector has no bbox_head, decode_head, head' in refusal(cfg, '')
    cfg = tiny_detector(voc, tmp_path)
    cfg.model.bbox_head = dict(
        type='GFLHead', num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1, norm_cfg=dict(type='BN'),
        anchor_generator=dict(ANCHORS, ratios=[1.0]), loss_dfl=dict(type='DistributionFocalLoss'),
    )  # fmt: skip
    assert 'GFLHead makes its predictions by GFLHead._predict_by_feat_single' in refusal(cfg, 'bbox_head')
    cfg = tiny_segmenter(city, tmp_path)
    cfg.model.test_cfg = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
    assert "test_cfg.mode is 'slide'" in refusal(cfg, 'decode_head')
    cfg = tiny_classifier(images, tmp_path)
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=64)
    assert 'MultiLabelLinearClsHead makes its predictions by' in refusal(cfg, 'head')
    cfg = tiny_classifier(images, tmp_path)
    cfg.data_preprocessor = dict(num_classes=3)
    with pytest.raises(ExportError, match='--normalize: the data_preprocessor of the config has no mean and std'):
        export_checkpoint(cfg, checkpoint_of(cfg), shape=(48, 48), normalize=True)


def test_a_graph_that_decodes_otherwise_is_refused(det):
    """The proof compares boxes: here torch suppresses fewer of them than the graph."""
    model = build_model(det.cfg)
    model.load_state_dict(torch.load(det.checkpoint)['state_dict'])
    model.bbox_head.test_cfg.nms.iou_threshold = 0.9
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    reference, pixels = D.Deployed(model, 'bbox_head', True, mean, std), 255 * torch.rand(2, 3, 96, 96)
    with pytest.raises(ExportError, match='the ONNX model is not the plain one'):
        _prove(onnx.load(det.path), reference, pixels, raw_outputs(reference, pixels)[1])


def test_the_record_is_in_the_file(det):
    (entry,) = onnx.load(det.path).metadata_props
    assert entry.key == RECORD
    assert json.loads(entry.value)['outputs'] == {'dict': {name: name for name in D.OUTPUTS['bbox_head']}}


@pytest.mark.slow
def test_the_recipe_for_int8_runs(det, tmp_path, monkeypatch):
    """The code of docs/export.md, with the files of a small detector."""
    text = (ROOT / 'docs' / 'export.md').read_text()
    code = next(
        block for block in re.findall(r'^```python\n(.*?)^```', text, re.M | re.S) if 'quantize_static' in block
    )
    monkeypatch.chdir(tmp_path)
    det.cfg.dump('fused.py')
    exported = export_checkpoint(det.cfg, torch.load(det.checkpoint), shape=(96, 96), decode=True)
    write_onnx(exported, tmp_path / 'model.onnx')
    exec(compile(code, 'docs/export.md', 'exec'), {})
    metrics, _ = det.tested(tmp_path / 'int8.onnx')
    assert metrics.keys() == det.tested(det.path)[0].keys()
    quantised = {node.op_type for node in onnx.load('int8.onnx').graph.node}
    assert 'QuantizeLinear' in quantised
    assert (tmp_path / 'int8.onnx').stat().st_size < 0.7 * (tmp_path / 'model.onnx').stat().st_size
