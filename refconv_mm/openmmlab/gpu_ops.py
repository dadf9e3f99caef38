"""mmcv's ops on a GPU for which mmcv was not compiled: torchvision's take the place of those that detectors need.

mmcv has no wheels for recent torch, and most machines with a GPU have no CUDA toolkit to compile it with. torchvision's
wheels have CUDA ops. SSD, SSDLite, RetinaNet and Faster R-CNN need `nms`, `roi_align` and the focal loss of mmcv's
extension; only these calls are replaced, and only for tensors that are not on the CPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmcv import ops
from torch import Tensor, nn
from torchvision.ops import nms, roi_align, sigmoid_focal_loss

from ..files.errors import GpuOpsError

# Modules of mmcv.ops that need nothing compiled, or what is replaced here.
_WITHOUT_CUDA = (
    'cc_attention', 'corner_pool', 'deprecated_wrappers', 'focal_loss', 'merge_cells', 'nms', 'point_sample',
    'roi_align',
)  # fmt: skip
REMEDY = (
    'Install a CUDA toolkit of the version that torch was built with and compile mmcv with it: '
    'FORCE_CUDA=1 requirements/build_mmcv.sh VENV requirements/upstream/mmcv.txt, from the sources of refconv_mm'
)


def compiled_for_gpu() -> bool:
    """Whether mmcv's ops run on a GPU."""
    return ops.get_compiling_cuda_version() not in ('not available', 'n/a')


class _Extension:
    """mmcv's extension module with other functions for the tensors of some devices."""

    def __init__(self, original: Any, functions: dict[str, Callable[..., Any]], devices: Sequence[str]) -> None:
        self.original, self.functions, self.devices = original, functions, devices

    def __getattr__(self, name: str) -> Any:
        original = getattr(self.original, name)
        if name not in self.functions:
            return original

        def dispatched(tensor: Tensor, *args: Any, **options: Any) -> Any:
            chosen = self.functions[name] if tensor.device.type in self.devices else original
            return chosen(tensor, *args, **options)

        return dispatched


def use_torchvision(devices: Sequence[str] = ('cuda',)) -> dict[str, Any]:
    """Lets mmcv's `nms`, `roi_align` and `sigmoid_focal_loss` call torchvision for the tensors of some devices.

    Args:
        devices: their types.

    Returns:
        What each module of mmcv called before, by the module's name; :func:`restore` takes it.
    """
    before = {}
    for name, functions in _REPLACED.items():
        module: Any = importlib.import_module(f'mmcv.ops.{name}')
        before[name] = module.ext_module
        original = getattr(module.ext_module, 'original', module.ext_module)
        module.ext_module = _Extension(original, functions, devices)
    return before


def restore(before: dict[str, Any]) -> None:
    """Undoes :func:`use_torchvision`."""
    for name, extension in before.items():
        module: Any = importlib.import_module(f'mmcv.ops.{name}')
        module.ext_module = extension


def check_ops(model: nn.Module) -> None:
    """Checks before the first batch of a training on a GPU that mmcv's ops are there for it.

    Raises:
        GpuOpsError: mmcv was compiled for the CPU alone, and the model has layers whose ops torchvision does not have.
    """
    if compiled_for_gpu():
        return
    missing = [f'{name} ({type(module).__name__})' for name, module in model.named_modules() if _needs_cuda(module)]
    if missing:
        some = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
        raise GpuOpsError(
            f'mmcv was compiled without CUDA, and {len(missing)} layers of the model need its ops on the GPU: {some}. '
            + REMEDY
        )


def _needs_cuda(module: nn.Module) -> bool:
    package, _, name = type(module).__module__.rpartition('.')
    # SAConv2d has a plain form, too.
    return package == 'mmcv.ops' and name not in _WITHOUT_CUDA and getattr(module, 'use_deform', True)


# -- The replacements, with the signatures of mmcv's extension -----------------------------------------------------


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    # Equal scores: mmcv takes torch's order, torchvision the order of the boxes.
    order = scores.sort(descending=True)[1]
    boxes = boxes[order].float()
    if offset:  # mmcv counts the last pixel of a box; torchvision does not
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    ranks = torch.arange(len(boxes), 0, -1, device=boxes.device, dtype=boxes.dtype)
    # mmcv compares with a threshold of 32 bits: an overlap of exactly 0.6 is decided by it.
    return order[nms(boxes, ranks, float(np.float32(iou_threshold)))]


def _pooled(features: Tensor, rois: Tensor, options: dict[str, Any]) -> Tensor:
    if options['pool_mode'] == 0:
        raise GpuOpsError(f"roi_align with pool_mode='max' needs mmcv's own ops on {features.device}. {REMEDY}")
    size = options['aligned_height'], options['aligned_width']
    scale, ratio, aligned = (options[name] for name in ('spatial_scale', 'sampling_ratio', 'aligned'))
    return roi_align(features, rois.to(features.dtype), size, scale, ratio, aligned)


def _roi_align_forward(
    features: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **options: Any
) -> None:
    output.copy_(_pooled(features, rois, options))


def _roi_align_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor, **options: Any
) -> None:
    # The pooling is linear in the features, so the gradient does not depend on their values.
    with torch.enable_grad():
        features = torch.zeros_like(grad_input, requires_grad=True)
        pooled = _pooled(features, rois, options)
    grad_input.copy_(torch.autograd.grad(pooled, features, grad_output)[0])


def _focal_loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    classes = torch.arange(logits.shape[1], device=logits.device)
    wanted = (target[:, None] == classes).to(logits.dtype)  # a row of the background has no class
    loss = sigmoid_focal_loss(logits, wanted, alpha, gamma)
    return loss if not weight.numel() else loss * weight[target][:, None]


def _focal_loss_forward(
    logits: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    output.copy_(_focal_loss(logits, target, weight, gamma, alpha))


def _focal_loss_backward(
    logits: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        loss = _focal_loss(leaf, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(loss, leaf)[0])


_REPLACED: dict[str, dict[str, Callable[..., Any]]] = {
    'nms': dict(nms=_nms),
    'roi_align': dict(roi_align_forward=_roi_align_forward, roi_align_backward=_roi_align_backward),
    'focal_loss': dict(
        sigmoid_focal_loss_forward=_focal_loss_forward, sigmoid_focal_loss_backward=_focal_loss_backward
    ),
}
