"""What any models cost beside each other: parameters, multiply-adds, seconds and memory.

Training is measured on the model as its config builds it, inference on the model as it is deployed: RefConv layers
fused, structural re-parameterisation (mmpretrain's `switch_to_deploy`) done, batch norm folded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mmcv.cnn
import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from refconv_mm.surgery import fuse, named_refconvs, trainable
from ..common.costs import alternate, machine, peak_bytes, rounds_for
from ..common.made import Trainer, copied_trainer, infer, made_batch
from . import CostOptions


def deploy(model: nn.Module) -> tuple[nn.Module, str]:
    """A copy as it would run in production, in eval mode, and what was done to it, in words."""
    model, done = copy.deepcopy(model).eval(), []
    if layers := named_refconvs(model):
        fuse(model)
        done.append(f'{len(layers)} RefConv layers fused')
    if names := _switch(model):
        done.append(f'{", ".join(names)} switched to deploy')
    return mmcv.cnn.fuse_conv_bn(model), ', '.join([*done, 'batch norm folded'])


def _switch(module: nn.Module, name: str = 'model') -> list[str]:
    """Calls `switch_to_deploy` of the outermost modules that have it; returns their names."""
    if callable(method := getattr(module, 'switch_to_deploy', None)):
        method()
        return [name]
    return [found for child, each in module.named_children() for found in _switch(each, child)]


def multiply_adds(model: nn.Module, inputs: Tensor) -> int:
    """Multiply-adds of one forward pass, as mmengine's FlopAnalyzer counts them (and calls them FLOPs).

    Convolutions, linear and matrix products, and layer norms count; batch norm, activations and sums don't.

    Args:
        inputs: `(N, C, H, W)`.
    """
    analyzer = FlopAnalyzer(model, inputs).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.inference_mode():
        return int(analyzer.total())


def measure(
    models: Mapping[str, nn.Module], classes: int, options: CostOptions, say: Callable[[str], Any] = lambda step: None
) -> dict[str, Any]:
    """What models cost beside each other; times are compared with those of the first.

    Args:
        models: by name; any that take OpenMMLab's `mode='loss'` and `'tensor'`, or tensors alone.
        classes: labels of the made data are below it.
        say: called with what comes next.

    Returns:
        Ready for JSON: `models`, a row for each, `size`, `batch` and the keys of :func:`.costs.machine`.

    Raises:
        ValueError: a model that can't be trained or run on such data.
    """
    size, batch = options.size, options.batch
    data = made_batch(size, batch, classes)
    rows: list[dict[str, Any]] = []
    ready, trainers = {}, {}
    for name, model in models.items():
        say(f'{name}: multiply-adds and memory')
        try:
            trainers[name] = Trainer(copy.deepcopy(model), data)
            peak = peak_bytes(copied_trainer(model, data))
            ready[name], done = deploy(model)
            flops = multiply_adds(ready[name], data.inputs[:1])
        except Exception as error:
            raise ValueError(f'{name} cannot be trained or run on {batch} made images of {size}: {error}') from error
        parameters = sum(parameter.numel() for parameter in ready[name].parameters())
        numbers = dict(trainable=trainable(model), parameters=parameters, multiply_adds=flops)
        rows.append(dict(name=name, deployed=done, **numbers, peak_bytes=peak))
    calls = {name: partial(infer, model, data.inputs) for name, model in ready.items()}
    for part, competitors, share in (('training', trainers, 1.0), ('inference', calls, 0.5)):
        times = _in_turn(competitors, options.seconds * share, partial(say, f'{part}, in turn'))
        for row in rows:
            row[part] = times[row['name']]
    return dict(models=rows, size=list(size), batch=batch, **machine())


def _in_turn(
    competitors: Mapping[str, Callable[[], Any]], seconds: float, say: Callable[[], Any]
) -> dict[str, dict[str, Any]]:
    say()
    rounds = rounds_for(lambda: [call() for call in competitors.values()], 1, seconds / 2)  # each turn is called twice
    return alternate(competitors, rounds, next(iter(competitors)), warm_up=1, report=say, settle=1)
