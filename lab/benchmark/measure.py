"""What refocusing costs: the plain model and the forms side by side, trained and run in turn on one machine."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mmcv.cnn
import torch
from torch import nn

from refconv_mm.checkpoints.fusing import build_model, fuse_checkpoint, load_whole, read_checkpoint, write_fused
from .gradient_bytes import gradient_bytes
from refconv_mm.deploy.graph import make_graph
from refconv_mm.deploy.onnx_model import INPUT, open_session
from refconv_mm.layers.options import KINDS
from refconv_mm.surgery import fuse, named_refconvs, refocus, trainable
from ..analysis.common import made
from .released_layer import with_released_layers
from ..analysis.common.costs import alternate, machine, peak_bytes, rounds_for

SPARE = 8  # GiB of memory that the growing layer must leave free


def refocused(model: nn.Module) -> nn.Module:
    """A copy with a refocused backbone (the whole model, where it has none of that name); all kinds of layers."""
    model = copy.deepcopy(model)
    refocus(model, 'backbone.*' if hasattr(model, 'backbone') else '*', kinds=KINDS)
    return model


def variants(plain: nn.Module) -> dict[str, nn.Module]:
    """`plain`, `released` (the map trains) and `refocused`."""
    return dict(plain=plain, released=with_released_layers(refocused(plain)), refocused=refocused(plain))


def deployable(plain: nn.Module) -> dict[str, nn.Module]:
    """What a forward pass can be made with.

    Returns:
        `plain`; `refocused`, which computes its kernels each time; `fused`; and `folded`: fused, and batch norm folded
        into it.
    """
    models = dict(plain=plain, refocused=refocused(plain))
    for name, layer in named_refconvs(models['refocused']):
        layer.trained.data.normal_(std=1e-3, generator=torch.Generator().manual_seed(len(name)))
    models['fused'] = copy.deepcopy(models['refocused'])
    fuse(models['fused'])
    models['folded'] = mmcv.cnn.fuse_conv_bn(copy.deepcopy(models['fused']))
    for model in models.values():
        model.eval()
    return models


def _in_turn(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, dict[str, Any]]:
    return alternate(calls, rounds_for(calls['plain'], 2 * len(calls), seconds), settle=1)


def measure_training(plain: nn.Module, batch: made.Batch, seconds: float) -> dict[str, Any]:
    """Seconds, peak bytes, sizes of each variant's training step; the timed part takes about `seconds`."""
    trainers = {name: made.Trainer(model, batch) for name, model in variants(plain).items()}
    result = _in_turn(trainers, seconds)
    for name, trainer in trainers.items():
        result[name] |= dict(
            parameters=trainable(trainer.model), optimizer_bytes=made.optimizer_bytes(trainer.optimizer),
            checkpoint_bytes=made.checkpoint_bytes(trainer),
            gradient_bytes=gradient_bytes(trainer.model, trainer.backward),
        )  # fmt: skip
        trainer.optimizer.zero_grad()
        result[name]['peak_bytes'] = peak_bytes(made.copied_trainer(trainer.model, batch))
    return result


def measure_inference(plain: nn.Module, batch: made.Batch, seconds: float) -> dict[str, Any]:
    """Seconds of a forward pass of each deployed model."""
    calls = {name: partial(made.infer, model, batch.inputs) for name, model in deployable(plain).items()}
    return _in_turn(calls, seconds)


def measure_case(name: str, case: dict[str, Any], batch: int, seconds: float, folder: Path) -> dict[str, Any]:
    """All that is measured of one model at one batch size.

    Args:
        case: `config`, `size` (height, width).
        seconds: about how long the timed part of training may take; inference gets half of it.
        folder: where relative config paths start.
    """
    plain, classes = made.make_model(made.find_config(case['config'], folder))
    data = made.made_batch(tuple(case['size']), batch, classes)
    result = dict(model=name, config=case['config'], size=list(case['size']), batch=batch, **machine())
    result['training'] = measure_training(plain, data, seconds)
    if batch == min(case['batches']):
        result['inference'] = measure_inference(plain, data, seconds / 2)
        if case.get('onnx'):
            result['onnx'] = measure_onnx(plain, data, seconds / 2)
    return result


def measure_onnx(plain: nn.Module, batch: made.Batch, seconds: float) -> dict[str, Any]:
    """Seconds of the plain, the fused and the folded model as ONNX graphs under onnxruntime."""
    models = deployable(plain)
    del models['refocused']
    inputs = {INPUT: batch.inputs.numpy()}
    calls: dict[str, Callable[[], Any]] = {}
    for name, model in models.items():
        # The folded graph's proof is against itself: that folding is right is proven elsewhere.
        session = open_session(make_graph(model, model, batch.inputs[:1]).proto.SerializeToString())
        calls[name] = partial(session.run, None, inputs)
    return _in_turn(calls, seconds)


def measure_fuse(config: str, folder: Path, repeats: int = 5) -> dict[str, Any]:
    """Seconds of fusing, proving and writing, beyond building and loading the model of a refocused config."""
    cfg = made.find_config(config, folder)
    beyond, loading = [], []
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, 'refocused.pth')
        torch.save(dict(state_dict=build_model(cfg).state_dict(), meta={}), path)
        for repeat in range(repeats + 1):
            start = time.perf_counter()
            load_whole(build_model(cfg), read_checkpoint(path)['state_dict'], str(path))
            middle = time.perf_counter()
            write_fused(fuse_checkpoint(cfg, read_checkpoint(path), source=str(path)), temporary, overwrite=True)
            end = time.perf_counter()
            if repeat:  # the first pays for imports and caches
                loading.append(middle - start)
                beyond.append(end - middle - (middle - start))
    return dict(config=config, seconds=beyond, loading=loading, **machine())


def grow(channels: list[int], size: int = 14, batch: int = 1, seconds: float = 5.0) -> Iterator[dict[str, Any]]:
    """One depthwise 3x3 layer, wider and wider, in each form; each width is timed for about `seconds`.

    Yields:
        One row a width and form; the released layer is left out where memory would not suffice.
    """
    for width in channels:
        plain = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False))
        data = made.Batch(torch.randn(batch, width, size, size), [])
        trainers = {'plain': made.Trainer(plain, data)}
        for form in ('released', 'refocused'):
            # Map, gradient, momentum; oneDNN's copy; and the copy that the count of allocations trains.
            need = 7 * width * width * 9 * 4 / 2**30
            if form == 'refocused' or need + SPARE < memory():
                model = refocused(plain)
                model = with_released_layers(model) if form == 'released' else model
                trainers[form] = made.Trainer(model, data)
        rounds = rounds_for(trainers['released' if 'released' in trainers else 'plain'], len(trainers), seconds, 3, 21)
        times = alternate(trainers, rounds, warm_up=1)
        for form in list(trainers):
            trainer = trainers.pop(form)  # the next one's count needs the room
            trainer.optimizer.zero_grad()
            trainer.optimizer.state.clear()
            row = dict(channels=width, form=form, parameters=trainable(trainer.model))
            row |= dict(seconds=statistics.median(times[form]['seconds']), ratio=times[form]['ratio'])
            yield row | dict(peak_bytes=peak_bytes(made.copied_trainer(trainer.model, data)))


def memory() -> float:
    """GiB of memory that are free now."""
    import psutil

    return psutil.virtual_memory().available / 2**30
