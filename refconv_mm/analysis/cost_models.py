"""What any models cost beside each other: parameters, multiply-adds, seconds and memory.

Training is measured on the model as its config builds it, inference on the model as it is deployed: RefConv layers
fused, structural re-parameterisation (mmpretrain's `switch_to_deploy`) done, batch norm folded.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mmcv.cnn
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from ..checkpoint import build_model
from ..surgery import fuse, named_refconvs, trainable
from . import cost
from .benchmark import fewest_classes, machine, open_model, rounds_for
from .weights import names_of


def deployed(model: nn.Module) -> tuple[nn.Module, str]:
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


def read_models(configs: Sequence[str], names: str | None = None) -> tuple[dict[str, nn.Module], int]:
    """The models of configs with random weights, by name, and the fewest classes of any of them.

    Args:
        configs: paths, or `scope::name` of an installed library.
        names: of the models, separated by commas; by default the configs' file names.

    Raises:
        FileNotFoundError: no such config.
        ValueError: not as many different names as configs.
    """
    called = names_of(configs, names, 'configs')
    models, classes = {}, []
    for name, config in zip(called, configs, strict=True):
        cfg = open_model(config, Path())
        torch.manual_seed(0)
        model = build_model(cfg)
        models[name] = model if torch.cuda.is_available() else revert_sync_batchnorm(model)  # SyncBN needs a GPU
        classes.append(fewest_classes(cfg.model))
    return models, min(classes)


def measure(
    models: Mapping[str, nn.Module],
    classes: int,
    size: tuple[int, int] = (224, 224),
    batch: int = 8,
    seconds: float = 30.0,
    progress: Callable[[str], Any] = lambda step: None,
) -> dict[str, Any]:
    """What models cost beside each other, the first being what times are compared with.

    Args:
        models: by name; any that take OpenMMLab's `mode='loss'` and `'tensor'`, or tensors alone.
        classes: labels of the made data are below it.
        size: height and width of the images.
        batch: images a training step and a forward pass.
        seconds: about how long the timed part of training takes; that of inference takes half of it.
        progress: called with what comes next.

    Returns:
        Ready for JSON: `models`, one row for each, `size`, `batch` and what :func:`benchmark.machine` tells.

    Raises:
        ValueError: a bad setting, or a model that can't be trained or run on such data.
    """
    if batch < 1 or min(size) < 1 or not seconds > 0:
        raise ValueError(f'--batch, --size and --seconds must be positive, got {batch}, {size}, {seconds}')
    data = cost.made_batch(size, batch, classes)
    rows: list[dict[str, Any]] = []
    ready, trainers = {}, {}
    for name, model in models.items():
        progress(f'{name}: multiply-adds and memory')
        try:
            trainers[name] = cost.Trainer(copy.deepcopy(model), data)
            peak = cost.peak_bytes(cost.copied_trainer(model, data))
            ready[name], done = deployed(model)
            flops = multiply_adds(ready[name], data.inputs[:1])
        except Exception as error:
            raise ValueError(f'{name} cannot be trained or run on {batch} made images of {size}: {error}') from error
        numbers = dict(trainable=trainable(model), parameters=_parameters(ready[name]), multiply_adds=flops)
        rows.append(dict(name=name, deployed=done, **numbers, peak_bytes=peak))
    calls = {name: partial(cost.infer, model, data.inputs) for name, model in ready.items()}
    for part, competitors, share in (('training', trainers, 1.0), ('inference', calls, 0.5)):
        times = _alternate(competitors, seconds * share, partial(progress, f'{part}, in turn'))
        for row in rows:
            row[part] = dict(seconds=times.seconds[row['name']], ratio=times.ratio(row['name']))
    return dict(models=rows, size=list(size), batch=batch, **machine())


def _alternate(competitors: Mapping[str, Callable[[], Any]], seconds: float, progress: Callable[[], Any]) -> cost.Times:
    progress()

    def one_round() -> None:
        for call in competitors.values():
            call()

    rounds = rounds_for(one_round, 1, seconds / 2)  # each turn is called twice
    return cost.alternate(competitors, rounds, next(iter(competitors)), warm_up=1, report=progress, settle=1)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def milliseconds(row: Mapping[str, Any], part: str) -> float:
    """Median of a row's `'training'` or `'inference'`."""
    return 1000 * statistics.median(row[part]['seconds'])
