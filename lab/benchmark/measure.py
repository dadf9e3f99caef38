"""The costs of refocusing: the plain model and the forms side by side, trained and run in turn on one machine."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import mmcv.cnn
import torch
from torch import nn

from refconv_mm import RefConvOptions
from refconv_mm.surgery import fuse, named_refconvs, refocus, trainable

from .costs import alternate, machine, peak_bytes, rounds_for
from .released_layer import with_released_layers
from .training_data import Batch, Trainer, copied_trainer, find_config, infer, random_model, synthetic_batch


def refocused(model: nn.Module) -> nn.Module:
    """A copy with a refocused backbone (the whole model, where it has none of that name).

    The layers are those of the default options. Where a model has none of these, they are its dense ones.
    """
    model, layers = copy.deepcopy(model), 'backbone.*' if hasattr(model, 'backbone') else '*'
    suited = any(conv.groups > 1 for conv in model.modules() if isinstance(conv, nn.Conv2d))
    refocus(model, layers, kinds=RefConvOptions().kinds if suited else 'dense')
    return model


def training_forms(plain: nn.Module) -> dict[str, nn.Module]:
    """`plain`, `released` (the map trains) and `refocused`."""
    return dict(plain=plain, released=with_released_layers(refocused(plain)), refocused=refocused(plain))


def inference_forms(plain: nn.Module) -> dict[str, nn.Module]:
    """`plain`; `refocused`, which computes its kernels each time; `fused`; and `folded`: fused, batch norm folded."""
    models = dict(plain=plain, refocused=refocused(plain))
    for name, layer in named_refconvs(models['refocused']):
        noise = torch.randn(layer.trained.shape, generator=torch.Generator().manual_seed(len(name)))
        layer.trained.data.copy_(1e-3 * noise)
    models['fused'] = copy.deepcopy(models['refocused'])
    fuse(models['fused'])
    models['folded'] = mmcv.cnn.fuse_conv_bn(copy.deepcopy(models['fused']))
    return {name: model.eval() for name, model in models.items()}


def measure_training(plain: nn.Module, batch: Batch, seconds: float, **options: bool) -> dict[str, Any]:
    """Seconds, peak bytes, sizes of each form's training step; the timed part takes about `seconds`."""
    trainers = {name: Trainer(model, batch, **options) for name, model in training_forms(plain).items()}
    result = alternate(trainers, rounds_for(trainers['plain'], len(trainers), seconds))
    for name, trainer in trainers.items():
        states = (value for state in trainer.optimizer.state.values() for value in state.values())
        result[name] |= dict(
            parameters=trainable(trainer.model),
            optimizer_bytes=sum(value.nbytes for value in states if isinstance(value, torch.Tensor)),
        )  # fmt: skip
        result[name]['peak_bytes'] = peak_bytes(copied_trainer(trainer.model, batch, **options))
    return result


def measure_inference(plain: nn.Module, batch: Batch, seconds: float) -> dict[str, Any]:
    """Seconds of a forward pass of each form."""
    calls = {name: partial(infer, model, batch.inputs) for name, model in inference_forms(plain).items()}
    return alternate(calls, rounds_for(calls['plain'], len(calls), seconds))


def measure_case(name: str, case: dict[str, Any], batch: int, seconds: float, folder: Path) -> dict[str, Any]:
    """All that is measured of one model at one batch size.

    Args:
        case: `config`, `size` (height, width), and `options` of :class:`.training_data.Trainer`.
        seconds: about how long the timed part of training may take; inference gets half of it.
        folder: where relative config paths start.
    """
    plain, classes = random_model(find_config(case['config'], folder))
    data = synthetic_batch(tuple(case['size']), batch, classes)
    result = dict(model=name, config=case['config'], size=list(case['size']), batch=batch, **machine())
    result['training'] = measure_training(plain, data, seconds, **case.get('options', {}))
    if batch == min(case['batches']) and not case.get('options'):
        result['inference'] = measure_inference(plain, data, seconds / 2)
    return result
