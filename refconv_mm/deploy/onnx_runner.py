"""Models and runners that take their outputs from an ONNX model, and the choice between it and a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torch.nn import functional as F

from ..openmmlab.config import is_refocused_config, plain_config
from .decoding import Deployed
from ..files.errors import CheckpointError, ExportError
from .onnx_model import HEADS, OnnxModel, flatten_outputs, head_of, preprocessing
from ..running.runner import runner_for_checkpoint, runner_without_weights
from ..openmmlab.models import unwrapped


def runner_for_test(
    cfg: Config, path: str, ema: bool | None = None, trust: bool = False, quiet: bool = False
) -> tuple[Runner, str]:
    """A runner that tests a checkpoint, or an ONNX model (`.onnx`) that was exported from one.

    Args and returns are those of :func:`refconv_mm.running.runner.runner_for_checkpoint`.

    Raises:
        FileNotFoundError, CheckpointError, FuseError, ExportError: the file does not exist, does not belong to the
            config's model, or cannot be tested.
        ValueError: `ema` with an ONNX model.
    """
    if Path(path).suffix != '.onnx':
        return runner_for_checkpoint(cfg, path, ema, trust, quiet)
    if ema is not None:
        raise ValueError('--ema, --no-ema: an ONNX model holds the weights that were chosen when it was exported')
    onnx = OnnxModel.read(path)
    runner = runner_without_weights(plain_config(cfg) if is_refocused_config(cfg) else cfg, quiet)
    run_on(unwrapped(runner.model), onnx)
    what = f'an ONNX model under onnxruntime ({onnx.provider}), of {onnx.record["note"]}'
    print_log(f'testing {what}', logger='current')
    return runner, what


def run_on(model: nn.Module, onnx: OnnxModel) -> None:
    """Makes a model take its outputs from ONNX, in place: raw outputs, whose post-processing stays, or predictions.

    Args:
        model: the plain model of a config; its weights are not used.

    Raises:
        CheckpointError: the ONNX model was exported for other images or from another model.
        ExportError: the model has no known head.
    """
    kind, head = head_of(model)
    if head is None or not hasattr(model, 'extract_feat'):
        raise ExportError(f'{type(model).__name__} has no {", ".join(HEADS)}: only models with one are tested as ONNX')
    expected = {key: onnx.record['input'].get(key) for key in ('mean', 'std', 'channels')}
    have = preprocessing(model)
    if have != expected:
        raise CheckpointError(
            f'the ONNX model was exported for images of {expected}, and the data_preprocessor of the config makes '
            f'{have}: pass the config that the model was exported with'
        )
    decoded = bool(onnx.record.get('decoded'))
    _check_outputs(Deployed(model.eval(), kind, decode=decoded), onnx)
    if decoded:
        predict = dict(bbox_head=_boxes, decode_head=_pixels, head=_classes)[kind]
        model.predict = lambda inputs, data_samples, **_: predict(model, onnx(inputs), data_samples)
    else:
        model.extract_feat = onnx
        head.forward = onnx.hand_on


@torch.no_grad()
def _check_outputs(model: Deployed, onnx: OnnxModel) -> None:
    """Compares the shapes of the outputs: another architecture or number of classes has others."""
    device = next(model.parameters()).device
    inputs = torch.zeros(1, *onnx.record['input']['shape'][1:], device=device)
    structure, tensors = flatten_outputs(model, model(inputs))
    expected = {name: tuple(value.shape) for name, value in tensors.items()}
    have = {name: tuple(value.shape) for name, value in flatten_outputs(model, onnx(inputs))[1].items()}
    if (structure, expected) != (onnx.record['outputs'], have):
        raise CheckpointError(
            f"the ONNX model is not of the config's model: on {tuple(inputs.shape)} it returns {have}, and the model "
            f'of the config {expected}'
        )
    classes = getattr(getattr(model.model, model.kind), 'num_classes', None)
    if onnx.record.get('num_classes', classes) != classes:
        raise CheckpointError(
            f'the ONNX model has {onnx.record["num_classes"]} classes, and the model of the config {classes}'
        )


def _boxes(model: Any, outputs: dict[str, Tensor], samples: list) -> list:
    """mmdet's data samples, with boxes in pixels of the original images."""
    results = []
    for sample, boxes, scores, labels in zip(samples, *outputs.values(), strict=True):
        found = labels >= 0
        scale = boxes.new_tensor(sample.scale_factor).repeat(2)
        results.append(InstanceData(bboxes=boxes[found] / scale, scores=scores[found], labels=labels[found]))
    return model.add_pred_to_datasample(samples, results)


def _pixels(model: Any, outputs: dict[str, Tensor], samples: list) -> list:
    """mmseg's data samples. The labels of resized images are resized back to the nearest pixel."""
    for sample, labels in zip(samples, outputs['labels'], strict=True):
        meta = sample.metainfo
        left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
        labels = labels[top : labels.shape[0] - bottom, left : labels.shape[1] - right]
        resized = F.interpolate(labels[None, None].float(), size=meta['ori_shape'][:2])[0].long()
        sample.set_data(dict(pred_sem_seg=PixelData(data=resized)))
    return samples


def _classes(model: Any, outputs: dict[str, Tensor], samples: list) -> list:
    """mmpretrain's data samples."""
    for sample, scores, label in zip(samples, outputs['scores'], outputs['labels'], strict=True):
        sample.set_pred_score(scores).set_pred_label(label)
    return samples
