"""Ops of mmcv's extension by torchvision, with the signatures of the extension (:mod:`.extension`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.ops as tv
from torch import Tensor

# -- non-maximum suppression -------------------------------------------------------------------------------


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    # Equal scores: mmcv takes torch's order, torchvision the order of the boxes.
    order = scores.sort(descending=True)[1]
    boxes = boxes[order].float()
    if offset:  # mmcv counts the last pixel of a box; torchvision does not
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    ranks = torch.arange(len(boxes), 0, -1, device=boxes.device, dtype=boxes.dtype)
    # mmcv compares with a threshold of 32 bits: an overlap of exactly 0.6 is decided by it.
    return order[tv.nms(boxes, ranks, float(np.float32(iou_threshold)))]


def _overlaps(box: Tensor, others: Tensor, offset: int) -> Tensor:
    sides = (torch.minimum(box[2:4], others[:, 2:4]) - torch.maximum(box[:2], others[:, :2]) + offset).clamp_min(0)
    areas = [(b[..., 2] - b[..., 0] + offset) * (b[..., 3] - b[..., 1] + offset) for b in (box, others)]
    both = sides[:, 0] * sides[:, 1]
    return both / (areas[0] + areas[1] - both)


def _softnms(
    boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int,
    offset: int,
) -> Tensor:  # fmt: skip
    """Selects the best box in turn and lowers the scores of those that overlap it; method: naive, linear, gaussian."""
    left = torch.cat([boxes, scores[:, None]], dim=1).float()
    index, threshold, i = torch.arange(len(boxes)), torch.tensor(iou_threshold, dtype=torch.float32), 0
    while i < len(left):
        best = i + int(left[i:, 4].argmax())
        for rows in (left, index):  # as mmcv: the best and the first of the rest change places
            rows[[i, best]] = rows[[best, i]]
        overlap = _overlaps(left[i], left[i + 1 :], offset)
        weight = torch.exp(-overlap * overlap / sigma) if method == 2 else 1 - overlap * method
        if method != 2:
            weight = torch.where(overlap >= threshold, weight if method else torch.zeros_like(weight), 1.0)
        left[i + 1 :, 4] *= weight
        keep = _without((left[:, 4] < min_score).tolist(), i + 1)
        left, index, i = left[keep], index[keep], i + 1
    dets[: len(left)] = left
    return index


def _without(dropped: list[bool], first: int) -> list[int]:
    """The order in which mmcv leaves the others: the last one takes the place of one that is dropped."""
    order, place = list(range(len(dropped))), first
    while place < len(order):
        if dropped[order[place]]:
            order[place] = order[-1]
            order.pop()
        else:
            place += 1
    return order


def _nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    order, groups = dets[:, 4].sort(descending=True)[1], []
    while len(order):
        overlap = _overlaps(dets[order[0]], dets[order[1:]], 0)
        same = overlap >= torch.tensor(iou_threshold, dtype=torch.float32)
        groups.append([int(order[0]), *order[1:][same].tolist()])
        order = order[1:][~same]
    return groups


# -- ops with a derivative ---------------------------------------------------------------------------------


def _differentiable(function: Callable[..., Tensor], signature: str) -> Callable[..., None]:
    """Makes an op of mmcv's extension from a function of tensors; its derivative is autograd's.

    Args:
        signature: names of the op's tensors in their order: arguments of the function, `output`, `grad` (of the output,
            else ones), `grad_NAME` for the derivatives that it writes, `_` for buffers. An argument whose derivative is
            wanted and that is not given counts as zeros: the function is linear in it.
    """
    names = signature.split()

    def op(*tensors: Tensor, **options: Any) -> None:
        given = dict(zip(names, tensors, strict=True))
        inputs = {name: t for name, t in given.items() if name not in ('_', 'output') and not name.startswith('grad')}
        if 'output' in given:
            given['output'].copy_(function(**inputs, **options))
            return
        wanted = [name.removeprefix('grad_') for name in names if name.startswith('grad_')]
        start = {name: inputs.get(name, torch.zeros_like(given[f'grad_{name}'])) for name in wanted}
        with torch.enable_grad():
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in start.items()}
            output = function(**{**inputs, **leaves}, **options)
        grad = given.get('grad', torch.ones_like(output))
        for name, value in zip(
            wanted, torch.autograd.grad(output, list(leaves.values()), grad, allow_unused=True), strict=True
        ):
            if value is not None:
                given[f'grad_{name}'].copy_(value)

    return op


def _roi_mean(x: Tensor, rois: Tensor, **options: Any) -> Tensor:
    size = options['aligned_height'], options['aligned_width']
    scale, ratio, aligned = (options[name] for name in ('spatial_scale', 'sampling_ratio', 'aligned'))
    return tv.roi_align(x, rois.to(x.dtype), size, scale, ratio, aligned)


def _sigmoid_focal(x: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    classes = torch.arange(x.shape[1], device=x.device)
    wanted = (target[:, None] == classes).to(x.dtype)  # a row of the background has no class
    loss = tv.sigmoid_focal_loss(x, wanted, alpha, gamma)
    return loss if not weight.numel() else loss * weight[target][:, None]


def _softmax_focal(x: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    # `x` is a softmax, and the derivative that of its logits.
    smallest = torch.finfo(x.dtype).tiny
    logits = x - x.detach() + x.detach().clamp_min(smallest).log()
    share = logits.softmax(1).gather(1, target.clamp_min(0)[:, None])[:, 0]
    loss = torch.where(target >= 0, -alpha * (1 - share) ** gamma * share.clamp_min(smallest).log(), 0)
    return loss if not weight.numel() else loss * weight[target.clamp_min(0)]


def _deform(x: Tensor, offset: Tensor, weight: Tensor, **options: Any) -> Tensor:
    stride, pad, dilation = ((options[f'{name}H'], options[f'{name}W']) for name in ('d', 'pad', 'dilation'))
    return tv.deform_conv2d(x, offset, weight, None, stride, pad, dilation)


def _modulated(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, **options: Any) -> Tensor:
    steps = ((options[f'{name}_h'], options[f'{name}_w']) for name in ('stride', 'pad', 'dilation'))
    return tv.deform_conv2d(x, offset, weight, bias if options['with_bias'] else None, *steps, mask)


def _attention(value: Tensor, shapes: Tensor, points: Tensor, weights: Tensor, **_: Any) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch  # it imports the extension

    return multi_scale_deformable_attn_pytorch(value, shapes, points, weights)


_mean_forward = _differentiable(_roi_mean, 'x rois output _ _')
_mean_backward = _differentiable(_roi_mean, 'grad rois _ _ grad_x')


def _roi_align_forward(x: Tensor, rois: Tensor, output: Tensor, ys: Tensor, xs: Tensor, **options: Any) -> None:
    if options['pool_mode'] == 1:
        _mean_forward(x, rois, output, ys, xs, **options)
        return
    height, width, aligned = options['aligned_height'], options['aligned_width'], options['aligned']
    for i, roi in enumerate(rois.to(x.dtype)):  # the largest of the points that the mean is made of
        start, sides = roi[1:3] * options['spatial_scale'], (roi[3:] - roi[1:3]) * options['spatial_scale']
        start, sides = (start - 0.5, sides) if aligned else (start, sides.clamp_min(1.0))
        counts = [options['sampling_ratio'] or -int(-side // n) for side, n in zip(sides, (width, height), strict=True)]
        if not all(counts):  # a region of no size has no points: mmcv's number for none, and no gradient
            output[i], ys[i], xs[i] = -10000, -2, -2
            continue
        across, down = counts
        fine = dict(options, aligned_height=height * down, aligned_width=width * across, sampling_ratio=1)
        pooled, chosen = F.max_pool2d(_roi_mean(x, roi[None], **fine), (down, across), return_indices=True)
        row, column = chosen[0] // (width * across), chosen[0] % (width * across)
        output[i], ys[i] = pooled[0], start[1] + (row + 0.5) * sides[1] / (height * down)
        xs[i] = start[0] + (column + 0.5) * sides[0] / (width * across)


def _roi_align_backward(grad: Tensor, rois: Tensor, ys: Tensor, xs: Tensor, grad_x: Tensor, **options: Any) -> None:
    if options['pool_mode'] == 1:
        _mean_backward(grad, rois, ys, xs, grad_x, **options)
        return
    height, width = grad_x.shape[2:]
    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    y, x = ys.clamp(0, height - 1), xs.clamp(0, width - 1)
    for row, by_row in ((y.floor(), 1 - y.frac()), (y.floor() + 1, y.frac())):
        for column, by_column in ((x.floor(), 1 - x.frac()), (x.floor() + 1, x.frac())):
            where = row.long().clamp_max(height - 1) * width + column.long().clamp_max(width - 1)
            _scatter(grad_x, rois, where, grad * by_row * by_column * inside)


def _scatter(image: Tensor, rois: Tensor, where: Tensor, values: Tensor) -> None:
    """Adds values `(R, C, h, w)` to the pixels `where` of the images of their regions, in place."""
    number = rois[:, 0].long()[:, None, None, None].expand_as(where)
    channel = torch.arange(where.shape[1], device=where.device)[:, None, None].expand_as(where)
    image.flatten(2).index_put_((number, channel, where), values, accumulate=True)


def _roi_pool_forward(x: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, **options: Any) -> None:
    size = options['pooled_height'], options['pooled_width']
    found = torch.ops.torchvision.roi_pool(x, rois.to(x.dtype), options['spatial_scale'], *size)
    output.copy_(found[0]), argmax.copy_(found[1])


def _roi_pool_backward(grad: Tensor, rois: Tensor, argmax: Tensor, grad_x: Tensor, **_: Any) -> None:
    _scatter(grad_x, rois, argmax.long().clamp_min(0), torch.where(argmax >= 0, grad, 0))


OPS: dict[str, Callable[..., Any]] = {
    'nms': _nms,
    'softnms': _softnms,
    'nms_match': _nms_match,
    'roi_align_forward': _roi_align_forward,
    'roi_align_backward': _roi_align_backward,
    'roi_pool_forward': _roi_pool_forward,
    'roi_pool_backward': _roi_pool_backward,
    'sigmoid_focal_loss_forward': _differentiable(_sigmoid_focal, 'x target weight output'),
    'sigmoid_focal_loss_backward': _differentiable(_sigmoid_focal, 'x target weight grad_x'),
    'softmax_focal_loss_forward': _differentiable(_softmax_focal, 'x target weight output'),
    'softmax_focal_loss_backward': _differentiable(_softmax_focal, 'x target weight _ grad_x'),
    'ms_deform_attn_forward': lambda value, shapes, _, *rest, **__: _attention(value, shapes, *rest),
    'ms_deform_attn_backward': _differentiable(
        _attention, 'value shapes _ points weights grad grad_value grad_points grad_weights'
    ),
    'deform_conv_forward': _differentiable(_deform, 'x weight offset output _ _'),
    'deform_conv_backward_input': _differentiable(_deform, 'x offset grad grad_x grad_offset weight _'),
    'deform_conv_backward_parameters': _differentiable(_deform, 'x offset grad grad_weight _ _'),
    'modulated_deform_conv_forward': _differentiable(_modulated, 'x weight bias _ offset mask output _'),
    'modulated_deform_conv_backward': _differentiable(
        _modulated, 'x weight bias _ offset mask _ grad_x grad_weight grad_bias grad_offset grad_mask grad'
    ),
}
