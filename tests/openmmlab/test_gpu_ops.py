"""torchvision's ops in the place of mmcv's: equal on the CPU, where mmcv's are there."""

import copy
import importlib

import mmcv.ops
import pytest
import torch
from mmcv.ops import batched_nms, nms, roi_align, sigmoid_focal_loss
from mmdet.apis import init_detector
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torch import nn

from refconv_mm.files.errors import GpuOpsError
from refconv_mm.openmmlab import compat, gpu_ops


@pytest.fixture
def torchvision():
    """mmcv's ops are those of torchvision while the block runs."""

    class Stand:
        def __enter__(self):
            self.before = gpu_ops.use_torchvision(devices=('cpu',))

        def __exit__(self, *_):
            gpu_ops.restore(self.before)

    return Stand()


def made_boxes(seed: int, count: int, integers: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes that overlap much, their scores with ties, and classes."""
    random = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(count, 2, generator=random) * 60, torch.rand(count, 2, generator=random) * 40 + 1
    boxes = torch.cat([corner, corner + size], dim=1)
    if integers:
        boxes = boxes.round()
    scores = (torch.rand(count, generator=random) * 50).round() / 50  # 51 values: many ties
    return boxes, scores, torch.randint(0, 5, (count,), generator=random)


@pytest.mark.parametrize('options', [
    dict(iou_threshold=0.6), dict(iou_threshold=0.45, offset=1), dict(iou_threshold=0.5, score_threshold=0.3),
    dict(iou_threshold=0.5, max_num=7),
])  # fmt: skip
@pytest.mark.parametrize('integers', [False, True])
def test_nms_keeps_the_same_boxes(torchvision, options, integers):
    for seed in range(40):
        # With an offset, both round the areas of boxes that are not whole numbers in their own order.
        boxes, scores, _ = made_boxes(seed, count=(0, 1, 30, 300)[seed % 4], integers=integers or 'offset' in options)
        wanted = nms(boxes, scores, **options)
        with torchvision:
            got = nms(boxes, scores, **options)
        assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_an_overlap_of_exactly_the_threshold_is_decided_alike(torchvision):
    boxes = torch.tensor([[0.0, 0, 10, 6], [0, 0, 10, 10]])  # an overlap of 0.6, which 32 bits round up
    scores = torch.tensor([0.9, 0.8])
    with torchvision:
        kept = nms(boxes, scores, 0.6)[1]
    assert torch.equal(kept, nms(boxes, scores, 0.6)[1])
    assert kept.tolist() == [0, 1]


@pytest.mark.parametrize('kind', [
    dict(type='nms', iou_threshold=0.5), dict(type='soft_nms', iou_threshold=0.5, min_score=0.05),
    dict(type='nms', iou_threshold=0.5, split_thr=50, max_num=20), None,
])  # fmt: skip
@pytest.mark.parametrize('class_agnostic', [False, True])
def test_batched_nms_keeps_the_same_boxes(torchvision, kind, class_agnostic):
    for seed in range(20):
        boxes, scores, classes = made_boxes(seed, count=200, integers=seed % 2 == 0)
        wanted = batched_nms(boxes, scores, classes, kind, class_agnostic)
        with torchvision:
            got = batched_nms(boxes, scores, classes, kind, class_agnostic)
        assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_and_its_gradient(torchvision, aligned, sampling_ratio):
    boxes, _, image = made_boxes(0, count=40, integers=False)
    rois = torch.cat([(image % 2)[:, None].float(), boxes], dim=1).double()
    features = torch.randn(2, 3, 20, 24, dtype=torch.float64)
    weights = torch.randn(40, 3, 7, 7, dtype=torch.float64)

    def both():
        leaf = features.clone().requires_grad_()
        pooled = roi_align(leaf, rois, 7, 0.25, sampling_ratio, 'avg', aligned)
        (pooled * weights).sum().backward()
        return pooled.detach(), leaf.grad

    wanted = both()
    with torchvision:
        got = both()
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_roi_align_by_the_largest_value_names_the_remedy(torchvision):
    with torchvision, pytest.raises(GpuOpsError, match=r"pool_mode='max'.*build_mmcv\.sh"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]), 2, 1.0, 0, 'max', True)


def test_the_focal_loss_and_its_gradient(torchvision):
    logits, target = torch.randn(50, 4, dtype=torch.float64) * 4, torch.randint(0, 5, (50,))  # class 4: background
    weights = torch.rand(50, 4, dtype=torch.float64)

    def both(loss):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf)
        (value * weights).sum().backward()
        return value.detach(), leaf.grad

    one_hot = nn.functional.one_hot(target, 5)[:, :4]
    wanted = both(lambda leaf: py_sigmoid_focal_loss(leaf, one_hot, gamma=2.0, alpha=0.25, reduction='none'))
    with torchvision:
        got = both(lambda leaf: sigmoid_focal_loss(leaf, target, 2.0, 0.25, None, 'none'))
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


DETECTORS = {
    'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py': 96,
    'mmdet::ssd/ssd300_coco.py': 300,
    'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py': 96,
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': 96,
}


@pytest.mark.parametrize(('config', 'size'), DETECTORS.items())
def test_detectors_find_the_same_boxes(torchvision, config, size):
    from mmengine.hub import get_config

    cfg = get_config(config)
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.get('rcnn', cfg.model.test_cfg).score_thr = 0.0
    torch.manual_seed(0)
    compat.prepare()
    model = init_detector(cfg, device='cpu', palette='random')
    compat.prepare()
    batch = dict(inputs=[torch.randint(0, 256, (3, size, size), dtype=torch.uint8)], data_samples=[sample(size)])
    wanted = model.test_step(copy.deepcopy(batch))[0].pred_instances
    with torchvision:
        got = model.test_step(copy.deepcopy(batch))[0].pred_instances
    assert len(wanted)
    for name in ('scores', 'labels', 'bboxes'):
        torch.testing.assert_close(wanted[name], got[name], rtol=1e-5, atol=1e-4)


def sample(size: int):
    from mmdet.structures import DetDataSample

    shape = (size, size)
    return DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)))


def test_other_devices_keep_their_own_ops():
    before = gpu_ops.use_torchvision()
    try:
        boxes, scores, _ = made_boxes(0, 30, False)
        module = importlib.import_module('mmcv.ops.nms').ext_module
        assert isinstance(module, gpu_ops._Extension)
        module.functions = dict(nms=lambda *a, **k: pytest.fail('a tensor on the CPU'))
        nms(boxes, scores, 0.5)
    finally:
        gpu_ops.restore(before)


def test_layers_without_a_stand_in_are_named_before_the_first_batch(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 3, 3), mmcv.ops.DeformConv2d(3, 3, 3), mmcv.ops.RoIAlign((7, 7)))
    monkeypatch.setattr(gpu_ops, 'compiled_for_gpu', lambda: True)
    gpu_ops.check_ops(model)
    monkeypatch.setattr(gpu_ops, 'compiled_for_gpu', lambda: False)
    gpu_ops.check_ops(model[:1])
    with pytest.raises(GpuOpsError, match=r'1 layers of the model need its ops on the GPU: 1 \(DeformConv2d\)'):
        gpu_ops.check_ops(model)


def test_the_stand_ins_are_for_a_gpu_without_ops_alone(monkeypatch):
    assert not compat.mmcv_without_gpu_ops()  # this machine has no GPU, or its ops
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(gpu_ops, 'compiled_for_gpu', lambda: False)
    called = []
    monkeypatch.setattr(gpu_ops, 'use_torchvision', lambda: called.append(1))
    assert compat.mmcv_without_gpu_ops()
    assert called
