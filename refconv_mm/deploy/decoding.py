"""A model as it is deployed: with normalisation before it and the decoding of its predictions behind it.

Everything is torch, from the images to boxes after NMS, so torch's exporter writes it into the graph. Priors, box
coders and test settings are those of the model's own head.
"""

from __future__ import annotations

from typing import Any

import torch
from mmcv.ops import nms as mmcv_nms
from torch import Tensor, nn
from torch.nn import functional as F

from ..files.errors import ExportError

# Outputs by the name of the head.
OUTPUTS = {'bbox_head': ('boxes', 'scores', 'labels'), 'decode_head': ('labels',), 'head': ('scores', 'labels')}
# The methods that make predictions of raw outputs, by head; a head that overrides one decodes in another way.
_DECODES = {
    'bbox_head': ('BaseDenseHead.predict_by_feat', 'BaseDenseHead._predict_by_feat_single'),
    'decode_head': ('BaseDecodeHead.predict_by_feat',),
    'head': ('ClsHead._get_predictions',),
}
_NMS_OPTIONS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}
# Share of the boxes that may miss their counterpart when two runs are compared: an overlap or a score within rounding
# of a limit decides for another box.
FLIPPED = 0.02


class Deployed(nn.Module):
    """A model with normalised or plain pixels as input, and raw outputs or predictions as output.

    Args:
        model: an mmdet, mmseg or mmpretrain model, in eval mode.
        kind: the name of its head, as :func:`refconv_mm.deploy.onnx_model.head_of` returns it.
        decode: return predictions. `boxes` (N, D, 4), `scores` and `labels` (N, D) of a detector, by falling score and
            filled up with boxes of score 0 and label -1; `labels` (N, H, W) of a segmenter; `scores` (N, classes) and
            `labels` (N,) of a classifier.
        mean, std: per channel; the input is then pixels of 0 to 255.

    Raises:
        ExportError: the head decodes in a way that is not known here.
    """

    def __init__(
        self, model: nn.Module, kind: str, decode: bool = False, mean: Tensor | None = None, std: Tensor | None = None
    ) -> None:
        super().__init__()
        self.model, self.kind, self.decode = model, kind, decode
        self.register_buffer('mean', mean, persistent=False)
        self.register_buffer('std', std, persistent=False)
        if decode:
            self.output_names = OUTPUTS.get(kind, ())
            _check_decodable(model, kind)

    @property
    def fixed_size(self) -> bool:
        """Whether the priors of one image size become part of the graph."""
        return self.decode and self.kind == 'bbox_head'

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Any:
        """Raw outputs, or the tensors of `output_names`."""
        images = inputs if self.mean is None else (inputs - self.mean) / self.std
        outputs = self.model(images, mode=mode)
        if not self.decode:
            return outputs
        head = getattr(self.model, self.kind)
        if self.kind == 'bbox_head':
            return decode_boxes(head, *outputs, image_shape=tuple(inputs.shape[2:]))
        if self.kind == 'head':
            scores = F.softmax(outputs, dim=1)
            return scores, scores.argmax(1)
        logits = head.predict_by_feat(outputs, [dict(img_shape=inputs.shape[2:])])
        return ((logits[:, 0].sigmoid() > head.threshold).long() if logits.shape[1] == 1 else logits.argmax(1),)


def _check_decodable(model: nn.Module, kind: str) -> None:
    head = getattr(model, kind, None)
    if kind not in _DECODES or head is None:
        raise ExportError(f'--decode: {type(model).__name__} has no {", ".join(_DECODES)}')
    for wanted in _DECODES[kind]:
        have = getattr(getattr(head, wanted.partition('.')[2], None), '__qualname__', 'nothing')
        if have != wanted:
            raise ExportError(
                f'--decode: {type(head).__name__} makes its predictions by {have}, and only {wanted} can be written '
                'into the graph; export the raw outputs'
            )
    if kind == 'bbox_head':
        nms, smallest = head.test_cfg.get('nms') or {}, head.test_cfg.get('min_bbox_size', -1)
        if nms.get('type', 'nms') != 'nms' or set(nms) - _NMS_OPTIONS:
            raise ExportError(f'--decode: only plain NMS becomes ONNX, test_cfg.nms is {dict(nms)}')
        if smallest > 0:
            raise ExportError(f'--decode: min_bbox_size is in pixels of the original image, test_cfg has {smallest}')
        if getattr(getattr(head, 'loss_cls', None), 'custom_cls_channels', False):
            raise ExportError(f'--decode: the loss of {type(head).__name__} brings an activation of its own')
    if kind == 'decode_head' and model.test_cfg.get('mode', 'whole') != 'whole':
        raise ExportError(f"--decode: the graph sees whole images, test_cfg.mode is '{model.test_cfg.mode}'")


# -- boxes -------------------------------------------------------------------------------------------------


def decode_boxes(
    head: Any,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    score_factors: list[Tensor] | None = None,
    *,
    image_shape: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """What mmdet's `BaseDenseHead.predict_by_feat` computes, for a batch and in shapes that do not depend on values.

    Where mmdet leaves boxes out, they get the score 0 here.

    Args:
        head: a dense head of mmdet, with its prior generator, box coder and `test_cfg`.
        cls_scores, bbox_preds, score_factors: of each level, `(N, priors * channels, H, W)`.
        image_shape: height and width to which boxes are clipped.

    Returns:
        Boxes `(N, D, 4)` as x1, y1, x2, y2 in pixels of the input, scores `(N, D)`, labels `(N, D)`.
    """
    cfg = head.test_cfg
    sizes = [scores.shape[-2:] for scores in cls_scores]
    priors = head.prior_generator.grid_priors(sizes, dtype=cls_scores[0].dtype, device=cls_scores[0].device)
    levels = [
        _level(head, *level, image_shape)
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


def _level(
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
    """Which boxes non-maximum suppression keeps.

    Args:
        boxes: `(N, K, 4)`.
        scores: `(N, K)`; boxes of score 0 take no part.
        iou_threshold: a box is left out if its overlap with a better one is larger.
        most: of boxes kept, for each image.

    Returns:
        `(N, K)`, 1 for those kept and 0 for others.
    """
    kept = torch.zeros_like(scores)
    for image, (its_boxes, its_scores) in enumerate(zip(boxes, scores, strict=True)):
        candidates = its_scores.nonzero()[:, 0]
        if len(candidates):
            _, chosen = mmcv_nms(its_boxes[candidates], its_scores[candidates], iou_threshold)
            kept[image, candidates[chosen[:most]]] = 1
    return kept


if hasattr(torch.library, 'custom_op'):  # torch 2.4 and newer; older ones do not export (export.py)
    operator = torch.library.custom_op('refconv_mm::nms', nms, mutates_args=())
    operator.register_fake(lambda boxes, scores, iou_threshold, most: torch.empty_like(scores))


def translations() -> dict[Any, Any]:
    """How torch's exporter writes our operator: as ONNX's NonMaxSuppression."""
    import onnxscript

    op: Any = onnxscript.opset18

    def onnx_nms(boxes, scores, iou_threshold: float, most: int):  # type: ignore[no-untyped-def]
        one_class = op.Unsqueeze(scores, op.Constant(value_ints=[1]))
        limits = op.Constant(value_floats=[iou_threshold]), op.Constant(value_floats=[0.0])
        chosen = op.NonMaxSuppression(boxes, one_class, op.Constant(value_ints=[most]), *limits)  # image, class, box
        where = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
        count = op.Slice(op.Shape(where), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
        ones = op.Expand(op.Constant(value_float=1.0), count)
        return op.ScatterND(op.Mul(scores, op.Constant(value_float=0.0)), where, ones)

    return {torch.ops.refconv_mm.nms.default: onnx_nms}


# -- comparison --------------------------------------------------------------------------------------------


def decoded_difference(expected: dict[str, Tensor], got: dict[str, Tensor]) -> float:
    """How far the predictions of two runs differ, relative to the largest number.

    Classes are counted: the share of pixels or images whose label differs. Each box is compared with the nearest one of
    the same label, because boxes of nearly equal scores change places. Up to `FLIPPED` of them may have none.
    """
    if 'boxes' in expected:
        size = expected['boxes'].abs().max().clamp(min=1)
        both = list(zip(_images(expected), _images(got), strict=True))
        return max(max(_nearest(one, other, size), _nearest(other, one, size)) for one, other in both)
    differences = [(expected['labels'] != got['labels']).double().mean().item()]
    if 'scores' in expected:
        differences.append((expected['scores'] - got['scores']).abs().max().item())
    return max(differences)


def _images(outputs: dict[str, Tensor]) -> list[list[Tensor]]:
    """The boxes of each image: boxes, scores and labels without the filling."""
    values = [outputs[name] for name in OUTPUTS['bbox_head']]
    return [[value[i][labels >= 0] for value in values] for i, labels in enumerate(outputs['labels'])]


def _nearest(one: list[Tensor], other: list[Tensor], size: Tensor) -> float:
    """The distance of boxes to their nearest in another list, without the worst `FLIPPED`."""
    (boxes, scores, labels), (boxes2, scores2, labels2) = one, other
    if not len(boxes):
        return 0.0
    if not len(boxes2):
        return 1.0
    apart = (boxes[:, None] - boxes2).abs().amax(-1) / size
    apart = torch.maximum(apart, (scores[:, None] - scores2).abs())
    apart[labels[:, None] != labels2] = 1.0
    worst = apart.amin(1).sort().values
    return worst[: len(worst) - int(FLIPPED * len(worst))][-1].item()
