"""An ONNX model computes what its checkpoint does, has a record, and is refused and not written where it does not."""

import collections
import copy
import io
import json
import sys

import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS
from onnx import numpy_helper
from torch import nn

from refconv_mm.commands import main
from refconv_mm.deploy import onnx_graph
from refconv_mm.deploy.end_to_end import EndToEndModel
from refconv_mm.deploy.export import RECORD, export_checkpoint
from refconv_mm.deploy.onnx_graph import Graph, make_graph
from refconv_mm.files.errors import ExportError, MissingPackageError
from refconv_mm.openmmlab.config import plain_config
from refconv_mm.openmmlab.models import build_model, load_whole
from tests.conftest import needs_new_torch

from .small_models import MEAN, STD, checkpoint_of, small_classifier, small_detector, small_segmenter

pytestmark = needs_new_torch


def run(proto, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs of a graph under onnxruntime, as a user of the file runs it."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(None, {'inputs': images.numpy()})), strict=True))


def shapes(values) -> dict:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def loaded(cfg: Config, checkpoint: dict) -> nn.Module:
    model = build_model(cfg)
    load_whole(model, checkpoint['state_dict'], 'it')
    return model


# -- raw outputs -------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def classifier(tmp_path_factory) -> tuple[Config, dict, Graph]:
    torch.manual_seed(0)
    cfg = small_classifier('', tmp_path_factory.mktemp('cls'))
    checkpoint = checkpoint_of(cfg)
    return cfg, checkpoint, export_checkpoint(cfg, checkpoint, source='here.pth')


def test_raw_outputs_are_those_of_the_refocused_model(classifier):
    cfg, checkpoint, graph = classifier
    images = torch.randn(5, 3, 48, 48)
    with torch.no_grad():
        expected = loaded(cfg, checkpoint)(images, mode='tensor')
    torch.testing.assert_close(run(graph.proto, images), dict(cls_score=expected), rtol=1e-5, atol=1e-5)
    assert graph.difference < 1e-4
    assert shapes(graph.proto.graph.input) == {'inputs': ['batch', 3, 48, 48]}


def test_the_graph_has_no_trace_of_the_transformation(classifier):
    """The same operators and weights, in number and shape, as the export of a model that was never refocused."""
    cfg, _, graph = classifier
    cfg = plain_config(cfg)
    plain = make_graph(EndToEndModel(loaded(cfg, checkpoint_of(cfg))), torch.randn(1, 3, 48, 48))
    kinds = [collections.Counter(node.op_type for node in g.proto.graph.node) for g in (graph, plain)]
    weights = [{i.name: list(i.dims) for i in g.proto.graph.initializer} for g in (graph, plain)]
    assert kinds[0] == kinds[1]
    assert weights[0] == weights[1]
    written = onnx.ModelProto.FromString(graph.proto.SerializeToString())
    del written.metadata_props[:]
    assert b'efconv' not in written.SerializeToString().lower()
    assert b'site-packages' not in written.SerializeToString()  # the stack traces that torch leaves


def test_the_record_says_how_to_use_the_model(classifier):
    (entry,) = classifier[2].proto.metadata_props
    record = json.loads(entry.value)
    assert entry.key == RECORD
    assert record['checkpoint'].startswith('a refocused checkpoint, its trained weights, fused in memory')
    assert record['classes'] == ['a', 'b', 'c']
    assert record['input'] == dict(
        shape=['batch', 3, 48, 48], mean=MEAN, std=STD, channels='RGB', graph_normalizes=False
    )
    assert record['decoded'] is False


# -- predictions from pixels -------------------------------------------------------------------------------


def exported(cfg: Config, **options) -> tuple[nn.Module, Graph]:
    """The plain model of random weights, and its graph from pixels to predictions."""
    torch.manual_seed(0)
    cfg = plain_config(cfg)
    checkpoint = checkpoint_of(cfg)
    return loaded(cfg, checkpoint), export_checkpoint(cfg, checkpoint, decode=True, normalize=True, **options)


def predicted(model: nn.Module, images: torch.Tensor, sample: type) -> list:
    """The predictions of the library; its preprocessor turns BGR into RGB."""
    size = images.shape[2:]
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0), batch_input_shape=size)
    with torch.no_grad():
        return model.test_step(
            dict(inputs=[image.flip(0) for image in images], data_samples=[sample(metainfo=meta) for _ in images])
        )


@pytest.fixture(scope='module')
def boxes(voc, tmp_path_factory) -> tuple[nn.Module, Graph]:
    return exported(small_detector(voc, tmp_path_factory.mktemp('det')))


def test_a_detector_finds_the_boxes_of_its_checkpoint(boxes):
    from mmdet.structures import DetDataSample

    model, graph = boxes
    assert shapes(graph.proto.graph.input) == dict(inputs=['batch', 3, 96, 96])
    assert shapes(graph.proto.graph.output) == dict(boxes=['batch', 40, 4], scores=['batch', 40], labels=['batch', 40])
    images = torch.randint(0, 256, (3, 3, 96, 96)).float()
    got = run(graph.proto, images)
    for i, sample in enumerate(predicted(model, images, DetDataSample)):
        expected = sample.pred_instances
        n = len(expected)
        assert n > 3
        torch.testing.assert_close(got['scores'][i, :n], expected.scores, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(got['boxes'][i, :n], expected.bboxes, rtol=1e-5, atol=1e-3)
        assert torch.equal(got['labels'][i, :n], expected.labels)
        assert (got['labels'][i, n:] == -1).all()
    raw = onnx_graph.run_model(EndToEndModel(model), images)
    assert list(raw) == ['cls_scores_0', 'cls_scores_1', 'bbox_preds_0', 'bbox_preds_1']


def test_a_segmenter_has_the_labels_of_its_checkpoint(city, tmp_path):
    from mmseg.structures import SegDataSample

    model, graph = exported(small_segmenter(city, tmp_path), shape=(64, 96))
    assert shapes(graph.proto.graph.output) == dict(labels=['batch', 64, 96])
    images = torch.randint(0, 256, (2, 3, 64, 96)).float()
    expected = torch.cat([sample.pred_sem_seg.data for sample in predicted(model, images, SegDataSample)])
    assert (run(graph.proto, images)['labels'] != expected).double().mean() <= 1e-3  # logits within rounding


def test_a_classifier_has_the_scores_of_its_checkpoint(tmp_path):
    from mmpretrain.structures import DataSample

    model, graph = exported(small_classifier('', tmp_path, channels=1))
    images = torch.randint(0, 256, (2, 1, 48, 48)).float()
    got, expected = run(graph.proto, images), predicted(model, images, DataSample)
    assert list(got) == ['scores', 'labels']
    torch.testing.assert_close(got['scores'], torch.stack([e.pred_score for e in expected]), rtol=1e-5, atol=1e-6)
    assert got['labels'].tolist() == [e.pred_label.item() for e in expected]


# -- refusals ----------------------------------------------------------------------------------------------


class ToyNet(nn.Module):
    """A convolution; the base of the net below."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return (self.conv(x),)


class ToyRounded(ToyNet):
    """Counts the windows of a batch as Swin does: torch treats the count as a constant without a message."""

    def forward(self, x):
        return (super().forward(x)[0] * int(x.shape[0] / 1.0),)


class ToyHead(nn.Module):
    def forward(self, feats):
        return feats[0].mean((2, 3))


for toy in (ToyNet, ToyRounded, ToyHead):
    MODELS.register_module(module=toy, force=True)


def toy_graph(name: str, channels: int = 3, **options) -> Graph:
    model = dict(type='mmpretrain.ImageClassifier', backbone=dict(type=name), head=dict(type='ToyHead'))
    model = build_model(Config(dict(default_scope='mmpretrain', model=model)))
    return make_graph(EndToEndModel(model), torch.randn(1, channels, 32, 32), **options)


def test_a_batch_that_became_a_constant_is_found_by_running_another():
    graph = toy_graph('ToyRounded')
    assert shapes(graph.proto.graph.input) == {'inputs': [1, 3, 32, 32]}
    assert graph.shape == [1, 3, 32, 32]
    assert 'not with a dynamic batch' in str(graph)


@pytest.mark.parametrize('value', [1.5, float('nan')])
def test_a_graph_that_computes_something_else_is_refused(value, monkeypatch):
    original = onnx_graph._to_onnx

    def spoiled(*args):
        proto = original(*args)
        weight = next(i for i in proto.graph.initializer if len(i.dims) == 4)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * value, weight.name))
        return proto

    monkeypatch.setattr(onnx_graph, '_to_onnx', spoiled)
    with pytest.raises(ExportError, match=r'(?s)nothing was written.*dynamic batch: onnxruntime differs.*fixed batch'):
        toy_graph('ToyNet')


def test_a_graph_that_decodes_otherwise_is_refused(boxes, monkeypatch):
    """The predictions are compared, not only the numbers before NMS."""
    other = EndToEndModel(copy.deepcopy(boxes[0]), decode=True, normalize=True)
    other.model.bbox_head.test_cfg.nms.iou_threshold = 0.9
    monkeypatch.setattr(onnx_graph, '_to_onnx', lambda *args: boxes[1].proto)
    with pytest.raises(ExportError, match='onnxruntime differs'):
        make_graph(other, 255 * torch.rand(1, 3, 96, 96))


def test_a_model_without_raw_outputs_is_refused():
    with pytest.raises(ExportError, match=r'for images of shape \(2, 5, 32, 32\).*name it: --shape HEIGHT WIDTH'):
        toy_graph('ToyNet', channels=5)
    cfg = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    checkpoint = dict(state_dict=build_model(cfg).state_dict(), meta={})
    with pytest.raises(ExportError, match=r'FasterRCNN returns no raw outputs.*two-stage detectors and DETR are not'):
        export_checkpoint(cfg, checkpoint, shape=(64, 64))


def test_a_head_that_cannot_be_decoded_is_refused(voc, city, tmp_path):
    def refused(cfg: Config, key: str, value: object, message: str, **options) -> None:
        cfg.merge_from_dict({key: value})
        with pytest.raises(ExportError, match=message):
            EndToEndModel(build_model(plain_config(cfg)), **(options or dict(decode=True)))

    det, cls = small_detector(voc, tmp_path), small_classifier('', tmp_path)
    refused(det, 'model.test_cfg.min_bbox_size', 4, 'min_bbox_size is in pixels of the original image')
    refused(det, 'model.test_cfg.nms.type', 'soft_nms', 'only plain NMS becomes ONNX')
    slide = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
    refused(small_segmenter(city, tmp_path), 'model.test_cfg', slide, "test_cfg.mode is 'slide'")
    refused(cls, 'data_preprocessor', dict(mean=None, std=None), '--normalize: .* no mean and std', normalize=True)
    cls.model.head = dict(num_classes=3, in_channels=16)
    refused(cls, 'model.head.type', 'MultiLabelLinearClsHead', 'MultiLabelLinearClsHead makes its predictions by')


def test_a_missing_package_is_named(classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(MissingPackageError, match=r'ONNX needs onnxruntime.*pip install onnx'):
        export_checkpoint(*classifier[:2])


def test_the_command_exports(classifier, tmp_path, capfd):
    cfg, checkpoint, _ = classifier
    config, path, out = tmp_path / 'cls.py', tmp_path / 'x.pth', tmp_path / 'x.onnx'
    cfg.dump(config)
    torch.save(checkpoint, path)

    def export(*words) -> int:
        with pytest.raises(SystemExit) as stop:
            main(['export', *map(str, (config, path, out, *words))])
        return stop.value.code

    assert export('--decode', '--normalize', '--shape', 32, 32) == 0
    said, problems = capfd.readouterr()
    assert said.startswith(
        f'exporting {path}; this can take some minutes\ntorch writes the graph, with a dynamic batch\n'
    )
    assert 'onnxruntime runs the graph, to compare it with torch\n' in said
    assert 'inputs: batch x 3 x 32 x 32; outputs: scores, labels' in said
    assert said.endswith(f'wrote {out}\n')
    assert 'training mode' not in said + problems
    images = torch.randint(0, 256, (4, 3, 32, 32)).float()
    assert run(onnx.load(io.BytesIO(out.read_bytes())), images)['scores'].shape == (4, 3)
    assert [path.name for path in tmp_path.glob('*onnx*')] == ['x.onnx']
    assert export() == 2
    assert 'x.onnx exists and is left alone' in capfd.readouterr().err
