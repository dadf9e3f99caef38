"""Boxes from the raw outputs of mmdet's dense heads, computed so that torch's exporter can write the computation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..files.errors import ExportError

_NMS_OPTIONS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}


def check_test_settings(head: Any) -> None:
    """Raises an ExportError if the test settings of a dense head ask for more than :func:`decode_boxes` computes."""
    nms_cfg, smallest = head.test_cfg.get('nms') or {}, head.test_cfg.get('min_bbox_size', -1)
    if nms_cfg.get('type', 'nms') != 'nms' or set(nms_cfg) - _NMS_OPTIONS:
        raise ExportError(f'--decode: only plain NMS becomes ONNX, test_cfg.nms is {dict(nms_cfg)}')
    if smallest > 0:
        raise ExportError(f'--decode: min_bbox_size is in pixels of the original image, test_cfg has {smallest}')


def decode_boxes(
    head: Any,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    score_factors: list[Tensor] | None = None,
    *,
    image_shape: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the boxes of mmdet's `BaseDenseHead.predict_by_feat`, for a batch, in shapes that no value changes.

    Args:
        head: a dense head of mmdet, with its prior generator, box coder and `test_cfg`.
        cls_scores, bbox_preds, score_factors: for each level, `(N, priors * channels, H, W)`.
        image_shape: height and width to which boxes are clipped.

    Returns:
        Boxes `(N, D, 4)` as x1, y1, x2, y2 in pixels of the input, scores `(N, D)` in falling order and labels
        `(N, D)`. Unused places have the score 0 and the label -1.
    """
    cfg = head.test_cfg
    sizes = [scores.shape[-2:] for scores in cls_scores]
    priors = head.prior_generator.grid_priors(sizes, dtype=cls_scores[0].dtype, device=cls_scores[0].device)
    levels = [
        _decode_level(head, *level, image_shape)
        for level in zip(cls_scores, bbox_preds, score_factors or [None] * len(sizes), priors, strict=True)
    ]
    boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
    if cfg.get('min_bbox_size', -1) >= 0:
        scores = torch.where((boxes[..., 2:] > boxes[..., :2]).all(-1), scores, 0.0)
    # Boxes of different classes are moved apart, as in mmcv's batched_nms.
    agnostic = cfg.nms.get('class_agnostic', False)
    apart = boxes if agnostic else boxes + (labels * (boxes.amax((1, 2))[:, None] + 1))[..., None].to(boxes)
    most = min(cfg.get('max_per_img', scores.shape[1]), scores.shape[1])
    kept = torch.ops.refconv_mm.nms(apart, scores, cfg.nms.iou_threshold, most)
    scores, order = (scores * kept).topk(most)
    found = scores > 0
    boxes = torch.where(found[..., None], boxes.gather(1, order[..., None].expand(-1, -1, 4)), 0.0)
    return boxes, scores, torch.where(found, labels.gather(1, order), -1)


def _decode_level(
    head: Any, logits: Tensor, deltas: Tensor, factors: Tensor | None, priors: Tensor, image_shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of the best pairs of prior and class of one level."""
    n, cfg = len(logits), head.test_cfg
    logits = logits.permute(0, 2, 3, 1).reshape(n, -1, head.cls_out_channels)
    scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
    classes, pairs = scores.shape[2], scores.shape[1] * scores.shape[2]
    limit = cfg.get('nms_pre', -1)
    scores, index = scores.reshape(n, pairs).topk(min(limit, pairs) if limit > 0 else pairs)
    prior = index // classes
    passed = scores > cfg.get('score_thr', 0)
    if factors is not None:
        scores = scores * factors.permute(0, 2, 3, 1).reshape(n, -1).sigmoid().gather(1, prior)
    size = head.bbox_coder.encode_size
    deltas = deltas.permute(0, 2, 3, 1).reshape(n, -1, size).gather(1, prior[..., None].expand(-1, -1, size))
    boxes = head.bbox_coder.decode(priors[prior.flatten()], deltas.flatten(0, 1), max_shape=image_shape)
    return boxes.view(n, -1, 4), torch.where(passed, scores, 0.0), index % classes


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    """Marks the boxes that non-maximum suppression keeps by 1 and the others by 0; those of score 0 take no part."""
    from mmcv.ops import nms as mmcv_nms  # not at the top: `refconv_mm.openmmlab.prepare` comes first

    kept = torch.zeros_like(scores)
    for image, (its_boxes, its_scores) in enumerate(zip(boxes, scores, strict=True)):
        candidates = its_scores.nonzero()[:, 0]
        if len(candidates):
            _, chosen = mmcv_nms(its_boxes[candidates], its_scores[candidates], iou_threshold)
            kept[image, candidates[chosen[:most]]] = 1
    return kept


if hasattr(torch.library, 'custom_op'):  # torch 2.4 and newer; export.py refuses older ones
    operator = torch.library.custom_op('refconv_mm::nms', nms, mutates_args=())
    operator.register_fake(lambda boxes, scores, iou_threshold, most: torch.empty_like(scores))


def onnx_operators() -> dict[Any, Any]:
    """How torch's exporter writes our operator: as ONNX's NonMaxSuppression."""
    import onnxscript

    op: Any = onnxscript.opset18

    def onnx_nms(boxes, scores, iou_threshold: float, most: int):  # type: ignore[no-untyped-def]
        one_class = op.Unsqueeze(scores, op.Constant(value_ints=[1]))
        limits = op.Constant(value_floats=[iou_threshold]), op.Constant(value_floats=[0.0])
        chosen = op.NonMaxSuppression(boxes, one_class, op.Constant(value_ints=[most]), *limits)  # image, class, box
        where = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
        ones = op.Expand(op.Constant(value_float=1.0), op.Shape(where, start=0, end=1))
        return op.ScatterND(op.Mul(scores, op.Constant(value_float=0.0)), where, ones)

    return {torch.ops.refconv_mm.nms.default: onnx_nms}
