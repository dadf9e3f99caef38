"""The ONNX model of a checkpoint computes the same, has a record, and is tested like the checkpoint."""

import collections
import copy
import json
import runpy
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from onnx import helper, numpy_helper
from torch import nn

from refconv_mm.deploy import graph as G
from refconv_mm.deploy import onnx_model as M
from refconv_mm import RefConv2d
from refconv_mm.checkpoints.fusing import fuse_checkpoint, write_fused
from refconv_mm.openmmlab.config import plain_config
from refconv_mm.files.errors import CheckpointError, ExportError, MissingPackageError
from refconv_mm.deploy.export import export_checkpoint, write_onnx
from refconv_mm.openmmlab.models import build_model
from refconv_mm.deploy.graph import make_graph
from refconv_mm.deploy.onnx_model import RECORD, OnnxModel, flatten, needed, restore
from refconv_mm.deploy.onnx_runner import run_on, runner_for_test
from refconv_mm.surgery import named_refconvs

from tests.conftest import ROOT, detector, needs_new_torch, segmenter

pytestmark = needs_new_torch
REFCONV = dict(type='RefConv', init='kaiming', gain=None, kinds=['depthwise', 'dense'])
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def resnet(scope: str, out: tuple = (0, 1, 2, 3)) -> dict:
    """Twenty convolutions of few channels."""
    small = dict(depth=18, base_channels=8, stem_channels=8, out_indices=out, norm_cfg=dict(type='BN'))
    return dict(type=f'{scope}.ResNet', conv_cfg=dict(REFCONV), **small)


def tiny_classifier(images, work_dir) -> Config:
    """A refocused classifier of the images under `images/<class>/`; its preprocessor stands beside the model."""
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='CustomDataset', data_root=str(images), pipeline=[
            dict(type='LoadImageFromFile'), dict(type='Resize', scale=(48, 48)), dict(type='PackInputs'),
        ]),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )  # fmt: skip
    head = dict(type='LinearClsHead', num_classes=3, in_channels=64, topk=(1,))
    model = dict(
        type='ImageClassifier',
        backbone=resnet('mmpretrain', (3,)),
        neck=dict(type='GlobalAveragePooling'),
        head=head,
    )
    return Config(dict(
        default_scope='mmpretrain', work_dir=str(work_dir), log_level='ERROR', model=model,
        data_preprocessor=dict(num_classes=3, mean=MEAN, std=STD, to_rgb=True),
        test_dataloader=loader, test_cfg=dict(), test_evaluator=dict(type='Accuracy', topk=(1,)),
        custom_imports=dict(imports=['refconv_mm']),
    ))  # fmt: skip


def tiny_segmenter(city, work_dir) -> Config:
    cfg = segmenter(city, work_dir)
    head = dict(type='FCNHead', in_channels=64, in_index=3, channels=8, num_classes=19, norm_cfg=dict(type='BN'))
    cfg.model.backbone, cfg.model.decode_head, cfg.model.auxiliary_head = resnet('mmseg'), head, None
    return cfg


def tiny_detector(voc, work_dir) -> Config:
    cfg = detector(voc, work_dir)
    anchors = dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32])
    head = dict(type='RetinaHead', num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1)
    cfg.model = dict(
        type='RetinaNet',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True, pad_size_divisor=32),
        backbone=resnet('mmdet', (1, 2, 3)),
        neck=dict(type='FPN', in_channels=[16, 32, 64], out_channels=8, num_outs=3),
        bbox_head=dict(head, anchor_generator=anchors),
        # All boxes count: a detector with random weights has low scores only.
        test_cfg=dict(nms_pre=50, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20),
    )
    return cfg


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root, random = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for name in 'abc':
        (root / name).mkdir()
        for i in range(3):
            cv2.imwrite(str(root / name / f'{i}.png'), random.integers(0, 255, (40, 56, 3), dtype=np.uint8))
    return root


def trained(model: nn.Module) -> nn.Module:
    """Learned running statistics, and last layers that tell the classes apart."""
    for name, module in model.named_modules():
        if isinstance(module, RefConv2d):
            module.restart()  # draws the random initialization
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        elif name.endswith(('conv_seg', 'head.fc')):
            module.weight.data.normal_()
    return model


def checkpoint_of(cfg: Config) -> dict:
    """A refocused checkpoint as after training; the maps are those of the random start."""
    model = trained(build_model(cfg))
    assert named_refconvs(model)
    return dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('a', 'b', 'c'))))


class Case:
    """A config, its refocused checkpoint on disk and the ONNX model exported from it."""

    def __init__(self, cfg: Config, folder, shape: tuple[int, int]):
        torch.manual_seed(0)
        self.cfg, self.shape, self.checkpoint = cfg, shape, checkpoint_of(cfg)
        self.refocused = folder / 'refocused.pth'
        torch.save(self.checkpoint, self.refocused)
        self.exported = export_checkpoint(cfg, self.checkpoint, source='here.pth', shape=shape)
        self.path = write_onnx(self.exported, folder / 'model.onnx')

    def tested(self, path) -> tuple[dict, list, str]:
        """Metrics, and the predictions for the first batch."""
        runner, what = runner_for_test(self.cfg, str(path))
        metrics = runner.test()
        batch = next(iter(runner.test_dataloader))
        with torch.no_grad():
            return metrics, runner.model.test_step(batch), what


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
    return Case(tiny_detector(voc, folder), folder, (96, 96))


# -- the graph ---------------------------------------------------------------------------------------------


def operators(proto) -> collections.Counter:
    return collections.Counter((node.domain, node.op_type) for node in proto.graph.node)


def shapes_of(values) -> dict:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_the_graph_has_no_trace_of_the_transformation(cls):
    """The same operators and weights, in number and shape, as the export of a model that was never refocused."""
    plain_cfg = plain_config(cls.cfg)
    plain = trained(build_model(plain_cfg))
    graph = make_graph(plain, plain, torch.randn(1, 3, 48, 48))
    ours = cls.exported.graph.proto
    assert operators(ours) == operators(graph.proto)
    assert {i.name: list(i.dims) for i in ours.graph.initializer} == {
        i.name: list(i.dims) for i in graph.proto.graph.initializer
    }
    assert operators(ours)['', 'Conv'] == 20
    written = onnx.load(cls.path)
    names = [n for node in written.graph.node for n in (node.name, *node.input, *node.output)]
    assert not any('refocus' in name or 'convmap' in name for name in names)
    del written.metadata_props[:]
    assert b'efconv' not in written.SerializeToString().lower()
    assert b'site-packages' not in written.SerializeToString()  # the stack traces that torch leaves


def test_the_graph_computes_the_refocused_model(cls, det):
    for case, size in ((cls, (48, 48)), (det, (96, 128))):
        refocused = build_model(case.cfg)
        refocused.load_state_dict(case.checkpoint['state_dict'])
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = refocused(x, mode='tensor')
        got = OnnxModel.read(case.path)(x)
        assert type(got) is type(expected)
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
        assert case.exported.record['difference'] < 1e-4


def test_batch_and_size_are_dynamic(cls, seg, det):
    for case, names in ((cls, ['cls_score']), (seg, ['seg_logits']), (det, None)):
        proto = case.exported.graph.proto
        assert shapes_of(proto.graph.input) == {'inputs': ['batch', 3, 'height', 'width']}
        assert case.exported.record['dynamic'] == ['batch', 'height', 'width']
        assert [o.name for o in proto.graph.output] == (names or [f'{n}_{i}' for n in DET for i in range(3)])
    model = OnnxModel.read(seg.path)
    assert model(torch.randn(1, 3, 64, 96)).shape == (1, 19, 2, 3)
    assert model(torch.randn(3, 3, 65, 190)).shape == (3, 19, 3, 6)
    assert OnnxModel.read(cls.path)(torch.randn(5, 3, 100, 30)).shape == (5, 3)


DET = ('cls_scores', 'bbox_preds')


def test_the_metadata_says_what_the_model_is(cls, det):
    entries = {entry.key: entry.value for entry in onnx.load(cls.path).metadata_props}
    assert set(entries) == {RECORD}
    record = json.loads(entries[RECORD])
    assert record['note'].startswith('a refocused checkpoint, fused in memory (trained weights): 17 layers agree')
    assert (record['fused'], record['folded_bn'], record['source']) == (True, False, 'here.pth')
    assert record['model'] == 'ImageClassifier'
    assert record['classes'] == ['a', 'b', 'c']
    # The preprocessor of a classifier's config stands beside the model, where mmengine's runner looks for it.
    assert record['input'] == dict(name='inputs', shape=[2, 3, 48, 48], mean=MEAN, std=STD, channels='RGB',
                                   graph_normalizes=False)  # fmt: skip
    assert record['outputs'] == 'cls_score'
    assert record['proven'] == [[2, 3, 48, 48], [1, 3, 61, 74]]
    assert record['tolerance'] == 1e-3
    assert 0 <= record['difference'] < 1e-4
    nested = {'tuple': [{'list': [f'{name}_{i}' for i in range(3)]} for name in DET]}
    assert OnnxModel.read(det.path).record['outputs'] == nested


def test_fold_bn_folds_what_torch_leaves(tmp_path):
    """Torch folds batch norm into the convolution before it, but not where its kernel is used twice."""
    cfg = toy_config(dict(type='ToyTwice', conv_cfg=dict(REFCONV)))
    checkpoint = checkpoint_of(cfg)
    left, folded = (export_checkpoint(cfg, checkpoint, shape=(32, 32), fold_bn=fold) for fold in (False, True))
    assert operators(left.graph.proto)['', 'BatchNormalization'] == 2
    assert operators(folded.graph.proto)['', 'BatchNormalization'] == 0
    assert folded.record['folded_bn'] is True
    assert folded.record['note'].endswith('batch norm folded')


def test_folding_that_changes_the_model_is_refused():
    """The graph is compared with the model before its batch norm was folded."""
    cfg = toy_config(dict(type='ToyBranch', conv_cfg=dict(REFCONV)))
    with pytest.raises(ExportError, match='is not the plain one'):
        export_checkpoint(cfg, checkpoint_of(cfg), shape=(32, 32), fold_bn=True)


def test_a_checkpoint_that_was_folded_before_is_exported(tmp_path):
    cfg = toy_config(dict(type='ToyNet', conv_cfg=dict(REFCONV)))
    checkpoint = checkpoint_of(cfg)
    fused = fuse_checkpoint(cfg, checkpoint, fold_bn=True, source='it', shape=(32, 32))
    path, _ = write_fused(fused, tmp_path)
    direct = export_checkpoint(cfg, checkpoint, shape=(32, 32))
    folded = export_checkpoint(fused.cfg, torch.load(path), shape=(32, 32))
    assert (folded.record['fused'], folded.record['folded_bn']) == (True, True)
    assert folded.record['note'] == 'a fused checkpoint, as it is (fused from it); batch norm folded'
    x = torch.randn(2, 3, 32, 32)
    outputs = [OnnxModel.read(write_onnx(e, tmp_path / f'{i}.onnx'))(x) for i, e in enumerate((direct, folded))]
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-4)


# -- proof -------------------------------------------------------------------------------------------------


class ToyNet(nn.Module):
    """Two convolutions; the base of the nets below."""

    def __init__(self, conv_cfg=None):
        super().__init__()
        from mmcv.cnn import ConvModule

        self.stem = ConvModule(3, 4, 3, stride=2, padding=1, conv_cfg=conv_cfg, norm_cfg=dict(type='BN'))
        self.conv = ConvModule(4, 4, 3, padding=1, groups=4, conv_cfg=conv_cfg, norm_cfg=dict(type='BN'), act_cfg=None)

    def forward(self, x):
        return (self.conv(self.stem(x)),)


class ToyTwice(ToyNet):
    """One layer used twice, as the heads of detectors at each level."""

    def forward(self, x):
        x = self.stem(x)
        return (self.conv(x) + self.conv(x + 1),)


class ToyBranch(ToyNet):
    """A convolution that is read before its batch norm, too: folding changes what is read."""

    def forward(self, x):
        inner = self.conv.conv(self.stem(x))
        return (self.conv.bn(inner) + inner,)


class ToyPosition(ToyNet):
    """A learned embedding of one size, as transformers have."""

    def __init__(self, size=(16, 16), **kwargs):
        super().__init__(**kwargs)
        self.position = nn.Parameter(torch.randn(1, 4, *size))

    def forward(self, x):
        (x,) = super().forward(x)
        position = self.position
        if x.shape[-2:] != position.shape[-2:]:
            position = nn.functional.interpolate(position, size=x.shape[-2:], mode='bilinear')
        return (x + position,)


class ToyRounded(ToyNet):
    """Counts the windows of a batch as Swin does: torch treats the count as a constant without a message."""

    def forward(self, x):
        (x,) = super().forward(x)
        return (x * int(x.shape[0] / 1.0),)


class ToyMultiple(ToyNet):
    """Takes only multiples of 32, as U-Nets do."""

    def forward(self, x):
        assert not any(side % 32 for side in x.shape[2:]), f'sides of {tuple(x.shape[2:])} should be multiples of 32'
        return super().forward(x)


class ToyInt(ToyNet):
    """A raw output that is not a tensor."""

    def forward(self, x):
        return (*super().forward(x), 3)


class ToyHead(nn.Module):
    def forward(self, feats):
        return feats if len(feats) > 1 else feats[0].mean((2, 3))

    def predict(self, feats, data_samples=None):
        return self(feats)


for toy in (ToyNet, ToyTwice, ToyBranch, ToyPosition, ToyRounded, ToyMultiple, ToyInt, ToyHead):
    MODELS.register_module(module=toy, force=True)


def toy_config(backbone: dict) -> Config:
    model = dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=dict(type='ToyHead'))
    return Config(dict(default_scope='mmpretrain', model=model))


def toy_graph(name: str) -> G.Graph:
    torch.manual_seed(0)
    model = build_model(toy_config(dict(type=name)))
    return make_graph(model, model, torch.randn(1, 3, 32, 32))


def test_a_size_that_the_graph_fixes_is_found_by_running_another():
    graph = toy_graph('ToyPosition')
    assert graph.dynamic == ['batch']
    assert graph.proven == [[2, 3, 32, 32], [1, 3, 32, 32]]
    assert len(graph.reasons) == 1
    assert graph.reasons[0].startswith('not dynamic in batch, height, width: ')
    assert shapes_of(graph.proto.graph.input) == {'inputs': ['batch', 3, 32, 32]}
    assert 'dynamic: batch; onnxruntime on 2x3x32x32 and 1x3x32x32' in str(graph)


def test_a_fixed_size_is_the_one_that_the_config_tests_with():
    """Not the smaller size that a dynamic graph is traced with."""
    cfg = toy_config(dict(type='ToyPosition', size=(48, 96), conv_cfg=dict(REFCONV)))
    cfg.test_pipeline = [dict(type='Resize', scale=(768, 384))]
    exported = export_checkpoint(cfg, checkpoint_of(cfg))
    assert exported.record['dynamic'] == ['batch']
    assert exported.record['proven'] == [[2, 3, 384, 768], [1, 3, 384, 768]]
    assert exported.graph.reasons[0].count('(1, 3, 109, 218)') == 1  # traced at 96 x 192


def test_a_batch_that_became_a_constant_is_found_by_running_another():
    graph = toy_graph('ToyRounded')
    assert graph.dynamic == []
    assert graph.proven == [[1, 3, 32, 32]]
    assert len(graph.reasons) == 2


def test_a_model_that_takes_multiples_only_is_proven_on_one():
    graph = toy_graph('ToyMultiple')
    assert graph.dynamic == ['batch', 'height', 'width']
    assert graph.proven == [[2, 3, 32, 32], [1, 3, 64, 96]]
    model = build_model(toy_config(dict(type='ToyMultiple')))
    with pytest.raises(
        ExportError, match=r'does not run on .*\(1, 3, 32, 40\): sides .* multiples of 32; name the size'
    ):
        G.raw_outputs(model, torch.randn(1, 3, 32, 40))


def spoil(proto, value=1.5) -> None:
    """Changes a weight of a graph."""
    weight = next(i for i in proto.graph.initializer if len(i.dims) == 4)
    array = numpy_helper.to_array(weight).copy()
    array[0] *= value
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))


@pytest.mark.parametrize('value', [1.5, float('nan')])
def test_above_tolerance_is_refused(value, monkeypatch):
    original = G._to_onnx

    def spoiled(*args):
        proto = original(*args)
        spoil(proto, value)
        return proto

    monkeypatch.setattr(G, '_to_onnx', spoiled)
    with pytest.raises(ExportError, match=r'is not the plain one: .*\(2, 3, 32, 32\).*tolerance 1e-03\); nothing was'):
        toy_graph('ToyNet')


def test_what_cannot_be_exported_is_refused(monkeypatch):
    with pytest.raises(ExportError, match='raw outputs hold a int'):
        toy_graph('ToyInt')
    model = build_model(toy_config(dict(type='ToyNet')))
    with pytest.raises(ExportError, match=r'does not run on an input of shape \(2, 5, 32, 32\).*--shape'):
        make_graph(model, model, torch.randn(1, 5, 32, 32))
    monkeypatch.setattr(torch.onnx, 'export', lambda *args, **kwargs: 1 / 0)
    with pytest.raises(
        ExportError, match=r'(?s)does not become ONNX.*not dynamic in batch: division.*fixed sizes either'
    ):
        toy_graph('ToyNet')


def test_a_two_stage_detector_is_refused(tmp_path):
    roi = dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7),
            out_channels=8,
            featmap_strides=[4],
        ),
        bbox_head=dict(type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=8, num_classes=3),
    )
    rpn = dict(
        type='RPNHead',
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(type='AnchorGenerator', scales=[8], ratios=[1.0], strides=[4]),
    )
    test = dict(
        rpn=dict(nms_pre=9, max_per_img=9, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0), rcnn=dict()
    )
    model = dict(
        type='FasterRCNN',
        train_cfg=None,
        backbone=resnet('mmdet', (0,)),
        neck=dict(type='FPN', in_channels=[8], out_channels=8, num_outs=1),
        rpn_head=rpn,
        roi_head=roi,
        test_cfg=test,
    )
    cfg = Config(dict(default_scope='mmdet', model=model))
    with pytest.raises(ExportError, match=r'FasterRCNN has no raw outputs.*two-stage detectors and DETR are not'):
        export_checkpoint(cfg, checkpoint_of(cfg), shape=(64, 64))


@pytest.mark.parametrize('opset', [17, 1000])
def test_an_opset_that_torch_does_not_write_is_refused(opset, cls):
    with pytest.raises(ValueError, match=f'versions 18 to .*got {opset}'):
        export_checkpoint(cls.cfg, cls.checkpoint, opset=opset)


def test_the_opset_that_was_asked_for_is_written():
    cfg = toy_config(dict(type='ToyNet', conv_cfg=dict(REFCONV)))
    exported = export_checkpoint(cfg, checkpoint_of(cfg), shape=(32, 32), opset=18)
    assert exported.graph.proto.opset_import[0].version == 18


def test_a_missing_package_is_named(cls, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(MissingPackageError, match=r"ONNX needs onnxruntime.*pip install 'refconv_mm\[onnx\]'"):
        export_checkpoint(cls.cfg, cls.checkpoint)
    with pytest.raises(MissingPackageError, match='ONNX needs onnxruntime'):
        OnnxModel.read(cls.path)


def test_nested_outputs_come_back_as_they_were():
    a, b = torch.zeros(1), torch.ones(2)
    for value in (a, (a, [b]), [a, None, (b,)], {'x': a, 'y': [b]}, ()):
        into = {}
        structure = flatten(value, 'out', into)
        again = restore(json.loads(json.dumps(structure)), into)
        assert str(again) == str(value)
        assert type(again) is type(value)
    assert flatten((a, [b]), 'out', {}) == {'tuple': ['out_0', {'list': ['out_1_0']}]}


# -- writing -----------------------------------------------------------------------------------------------


def test_writing_never_overwrites_unasked(cls, tmp_path, monkeypatch):
    path = write_onnx(cls.exported, tmp_path / 'new' / 'x.onnx')
    path.write_text('mine')
    with pytest.raises(FileExistsError, match=r'x\.onnx exists and is left alone'):
        write_onnx(cls.exported, path)
    assert path.read_text() == 'mine'
    write_onnx(cls.exported, path, overwrite=True)
    onnx.checker.check_model(str(path), full_check=True)
    assert [p.name for p in path.parent.iterdir()] == ['x.onnx']
    with pytest.raises(ValueError, match=r'does not end with \.onnx'):
        write_onnx(cls.exported, tmp_path / 'x.pth')


def test_an_interrupted_write_leaves_the_old_file(cls, tmp_path, monkeypatch):
    path = write_onnx(cls.exported, tmp_path / 'x.onnx')
    before = path.read_bytes()

    def interrupted(proto, name):
        raise KeyboardInterrupt

    monkeypatch.setattr(needed('onnx'), 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_onnx(cls.exported, path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# -- testing it --------------------------------------------------------------------------------------------


def spoiled_copy(case: Case, path):
    proto = onnx.load(case.path)
    spoil(proto, -3.0)
    onnx.save(proto, path)
    return path


def test_a_classifier_has_the_metrics_of_its_checkpoint(cls, tmp_path):
    fused, expected, _ = cls.tested(cls.refocused)
    metrics, got, what = cls.tested(cls.path)
    assert what.startswith('an ONNX model under onnxruntime (CPUExecutionProvider), of a refocused checkpoint, fused')
    assert metrics == fused
    scores, wanted = (torch.stack([sample.pred_score for sample in p]) for p in (got, expected))
    torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-5)
    other = torch.stack([sample.pred_score for sample in cls.tested(spoiled_copy(cls, tmp_path / 'x.onnx'))[1]])
    assert (other - wanted).abs().max() > 1e-3  # the graph was tested, not the model


def test_a_segmenter_has_the_metrics_of_its_checkpoint(seg, tmp_path):
    fused, expected, _ = seg.tested(seg.refocused)
    metrics, got, _ = seg.tested(seg.path)
    assert metrics['mIoU'] > 0
    assert metrics == fused
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data, rtol=1e-3, atol=1e-4)
    assert seg.tested(spoiled_copy(seg, tmp_path / 'x.onnx'))[0] != fused


def test_a_detector_has_the_metrics_of_its_checkpoint(det, tmp_path):
    fused, expected, _ = det.tested(det.refocused)
    metrics, got, _ = det.tested(det.path)
    assert metrics == fused
    assert len(got[0].pred_instances) == 20
    torch.testing.assert_close(got[0].pred_instances.bboxes, expected[0].pred_instances.bboxes, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(got[0].pred_instances.scores, expected[0].pred_instances.scores, rtol=1e-3, atol=1e-5)
    other = det.tested(spoiled_copy(det, tmp_path / 'x.onnx'))[1]
    assert not torch.allclose(other[0].pred_instances.scores, got[0].pred_instances.scores, atol=1e-3)


def test_averaging_hooks_copy_the_model_that_runs_on_a_session(seg):
    cfg = copy.deepcopy(seg.cfg)
    cfg.custom_hooks = [dict(type='EMAHook')]
    runner, _ = runner_for_test(cfg, str(seg.path))
    assert runner.test() == seg.tested(seg.path)[0]


def test_the_wrong_config_is_refused(cls, seg):
    darker, more, turned = (copy.deepcopy(cls.cfg) for _ in range(3))
    darker.data_preprocessor.mean = [0, 0, 0]
    turned.data_preprocessor.to_rgb = False
    more.model.head.num_classes = more.data_preprocessor.num_classes = 4
    with pytest.raises(CheckpointError, match=r"exported for images of .*123\.675.*'mean': \[0\.0, 0\.0, 0\.0\]"):
        runner_for_test(darker, str(cls.path))
    with pytest.raises(CheckpointError, match=r"'channels': 'RGB'.*'channels': 'BGR'"):
        runner_for_test(turned, str(cls.path))
    with pytest.raises(
        CheckpointError, match=r"not of the config's model.*'cls_score': \(1, 3\).*'cls_score': \(1, 4\)"
    ):
        runner_for_test(more, str(cls.path))
    with pytest.raises(ValueError, match='--ema, --no-ema'):
        runner_for_test(cls.cfg, str(cls.path), ema=True)


def test_files_that_are_not_ours_are_refused(cls, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no ONNX model at .*nowhere\.onnx'):
        runner_for_test(cls.cfg, str(tmp_path / 'nowhere.onnx'))
    path = tmp_path / 'x.onnx'
    path.write_bytes(cls.path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match='damaged or not an ONNX model'):
        runner_for_test(cls.cfg, str(path))
    value = helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, [1])
    foreign = helper.make_model(helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', [value], [out]))
    foreign.ir_version = 10
    for entries, match in (
        ({}, 'no record'),
        ({RECORD: '{'}, 'no record'),
        ({RECORD: '{"note": ""}'}, 'lacks version'),
    ):
        helper.set_model_props(foreign, entries)
        onnx.save(foreign, path)
        with pytest.raises(CheckpointError, match=match):
            runner_for_test(cls.cfg, str(path))


def test_fixed_axes_run_image_by_image_and_refuse_another_size(monkeypatch, tmp_path):
    monkeypatch.setattr(G, 'LEVELS', ((),))
    torch.manual_seed(0)
    model = build_model(toy_config(dict(type='ToyNet')))
    graph = make_graph(model, model, torch.randn(1, 3, 32, 48))
    assert graph.dynamic == []
    onnx_model = OnnxModel(M.open_session(graph.proto.SerializeToString()), dict(outputs=graph.outputs))
    x = torch.randn(3, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(onnx_model(x), model(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ExportError, match=r'images of 3x32x48 only, and got 3x48x32: export it with --shape 48 32'):
        onnx_model(torch.randn(1, 3, 48, 32))


def test_a_head_that_gets_something_else_is_refused(cls):
    onnx_model = OnnxModel.read(cls.path)
    outputs = onnx_model(torch.randn(1, 3, 48, 48))
    assert onnx_model.hand_on(outputs) is outputs
    with pytest.raises(ExportError, match='does not start from its raw outputs'):
        onnx_model.hand_on(outputs.clone())
    with pytest.raises(ExportError, match='Sequential has no decode_head, bbox_head, head'):
        run_on(nn.Sequential(), onnx_model)


def test_the_gpu_is_used_where_onnxruntime_has_one(cls, monkeypatch):
    runtime, asked = needed('onnxruntime'), []
    monkeypatch.setattr(runtime, 'InferenceSession', lambda model, options, providers: asked.append(providers))
    M.open_session(b'')
    monkeypatch.setattr(runtime, 'get_available_providers', lambda: ['CPUExecutionProvider', 'CUDAExecutionProvider'])
    M.open_session(b'')
    assert asked == [['CPUExecutionProvider'], ['CUDAExecutionProvider', 'CPUExecutionProvider']]


def test_the_tools_export_and_test(seg, tmp_path, monkeypatch, capsys):
    def tool(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        code = 0
        try:
            runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, ' '.join((captured.out + captured.err).split())

    config, out = tmp_path / 'seg.py', tmp_path / 'seg.onnx'
    seg.cfg.dump(config)
    code, said = tool('export_onnx', config, seg.refocused, out, '--shape', 64, 96)
    assert code == 0, said
    assert 'fused in memory' in said
    assert 'dynamic: batch, height, width; onnxruntime on 2x3x64x96 and 1x3x77x122: maximum difference' in said
    code, said = tool('export_onnx', config, seg.refocused, out)
    assert (code, 'seg.onnx exists and is left alone' in said) == (2, True)
    code, said = tool('test', config, out, '--work-dir', tmp_path, '--out', tmp_path / 'm.json')
    assert code == 0, said
    assert 'an ONNX model under onnxruntime' in said
    assert json.loads((tmp_path / 'm.json').read_text()) == seg.tested(seg.refocused)[0]
    code, said = tool('test', config, tmp_path / 'no.onnx')
    assert (code, 'no ONNX model at' in said) == (2, True)
