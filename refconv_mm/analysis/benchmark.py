"""What refocusing costs: the plain model and the forms side by side, trained and run in turn on one machine."""

from __future__ import annotations

import copy
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mmcv.cnn
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from torch import nn

from ..checkpoint import build_model, fuse_checkpoint, load_whole, read_checkpoint, write_fused
from ..distributed import gradient_bytes
from ..onnx_graph import make_graph
from ..onnx_model import INPUT, open_session
from ..surgery import fuse, named_refconvs, refocus, trainable
from ..version import __version__
from . import cost

SPARE = 8  # GiB of memory that the growing layer must leave free


def open_model(config: str, folder: Path) -> Config:
    """The config of a model: `scope::name` from an installed library, or a path, seen from `folder` or from here.

    Raises:
        FileNotFoundError: no such config.
    """
    if '::' in config:
        return get_config(config)
    paths = [folder / config, Path(config)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f'no config at {" or ".join(map(str, paths))}')
    return Config.fromfile(path)


def refocused(model: nn.Module, **options: Any) -> nn.Module:
    """A copy with a refocused backbone (the whole model, where it has none of that name)."""
    model = copy.deepcopy(model)
    refocus(model, 'backbone.*' if hasattr(model, 'backbone') else '*', **options)
    return model


def variants(plain: nn.Module) -> dict[str, nn.Module]:
    """`plain`, `explicit` (the released layer), `update`, and for dense nets `layer` (`scope='layer'`)."""
    models = dict(plain=plain, explicit=refocused(plain, form='explicit'), update=refocused(plain))
    if all(layer.groups == 1 for _, layer in named_refconvs(models['update'])):
        models['layer'] = refocused(plain, scope='layer')
    return models


def deployed(plain: nn.Module) -> dict[str, nn.Module]:
    """What a forward pass can be made with.

    Returns:
        `plain`; `refocused`, which computes its kernels each time; `fused`; and `folded`: fused, and batch norm folded
        into it.
    """
    models = dict(plain=plain, refocused=refocused(plain))
    for name, layer in named_refconvs(models['refocused']):
        torch.nn.init.normal_(layer.trained, std=1e-3, generator=torch.Generator().manual_seed(len(name)))
    models['fused'] = copy.deepcopy(models['refocused'])
    fuse(models['fused'])
    models['folded'] = mmcv.cnn.fuse_conv_bn(copy.deepcopy(models['fused']))
    for model in models.values():
        model.eval()
    return models


def rounds_for(call: Callable[[], Any], competitors: int, seconds: float, at_least: int = 7, at_most: int = 41) -> int:
    """An odd number of rounds that takes about `seconds`."""
    call()
    start = time.perf_counter()
    call()
    each = (time.perf_counter() - start) * competitors
    return max(at_least, min(at_most, int(seconds / each))) | 1


def measure_training(plain: nn.Module, batch: cost.Batch, seconds: float) -> dict[str, Any]:
    """Seconds, peak bytes, sizes of each variant's training step.

    Args:
        plain: the model.
        batch: what it trains on.
        seconds: about how long the timed part may take.
    """
    models = variants(plain)
    trainers = {name: cost.Trainer(model, batch) for name, model in models.items()}
    rounds = rounds_for(trainers['plain'], len(trainers), seconds)
    times = cost.alternate(trainers, rounds)
    result: dict[str, Any] = {}
    for name, trainer in trainers.items():
        result[name] = dict(
            seconds=times.seconds[name],
            ratio=times.ratio(name),
            parameters=trainable(trainer.model),
            optimizer_bytes=cost.optimizer_bytes(trainer.optimizer),
            checkpoint_bytes=cost.checkpoint_bytes(trainer),
            gradient_bytes=gradient_bytes(trainer.model, trainer.backward),
        )
        trainer.optimizer.zero_grad()
        result[name]['peak_bytes'] = cost.peak_bytes(cost.copied_trainer(trainer.model, batch))
    return result


def measure_inference(plain: nn.Module, batch: cost.Batch, seconds: float) -> dict[str, Any]:
    """Seconds of a forward pass of each deployed model."""
    models = deployed(plain)
    calls = {name: partial(cost.infer, model, batch.inputs) for name, model in models.items()}
    times = cost.alternate(calls, rounds_for(calls['plain'], len(calls), seconds))
    return {name: dict(seconds=times.seconds[name], ratio=times.ratio(name)) for name in calls}


def measure_case(name: str, case: dict[str, Any], batch: int, seconds: float, folder: Path) -> dict[str, Any]:
    """All that is measured of one model at one batch size.

    Args:
        name: what to call it.
        case: `config`, `size` (height, width).
        batch: images a step.
        seconds: about how long the timed part of training may take; inference gets half of it.
        folder: where relative config paths start.
    """
    cfg = open_model(case['config'], folder)
    torch.manual_seed(0)
    plain = build_model(cfg)
    if not torch.cuda.is_available():
        plain = revert_sync_batchnorm(plain)  # SyncBN needs a GPU
    data = cost.made_batch(tuple(case['size']), batch, classes=fewest_classes(cfg.model))
    result = dict(model=name, config=case['config'], size=list(case['size']), batch=batch, **machine())
    result['training'] = measure_training(plain, data, seconds)
    if batch == min(case['batches']):
        result['inference'] = measure_inference(plain, data, seconds / 2)
        if case.get('onnx'):
            result['onnx'] = measure_onnx(plain, data, seconds / 2)
    return result


def measure_onnx(plain: nn.Module, batch: cost.Batch, seconds: float) -> dict[str, Any]:
    """Seconds of the plain, the fused and the folded model as ONNX graphs under onnxruntime."""
    models = deployed(plain)
    del models['refocused']
    inputs = {INPUT: batch.inputs.numpy()}
    calls: dict[str, Callable[[], Any]] = {}
    for name, model in models.items():
        # The folded graph's proof is against itself: that folding is right is proven elsewhere.
        session = open_session(make_graph(model, model, batch.inputs[:1]).proto.SerializeToString())
        calls[name] = partial(session.run, None, inputs)
    times = cost.alternate(calls, rounds_for(calls['plain'], len(calls), seconds))
    return {name: dict(seconds=times.seconds[name], ratio=times.ratio(name)) for name in calls}


def fewest_classes(node: Any) -> int:
    """The fewest classes of any head, so that every made label is valid for all of them."""
    if isinstance(node, dict):
        own = [node['num_classes']] if node.get('num_classes') else []
        return min(own + [fewest_classes(value) for value in node.values()], default=1000)
    if isinstance(node, list | tuple):
        return min((fewest_classes(value) for value in node), default=1000)
    return 1000


def measure_fuse(config: str, folder: Path, repeats: int = 5) -> dict[str, Any]:
    """Seconds of fusing, proving and writing, beyond building and loading the refocused model.

    Args:
        config: a refocused config.
    """
    cfg = open_model(config, folder)
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
    """One depthwise 3x3 layer, wider and wider, in each form.

    Args:
        channels: numbers of channels.
        size: side of the image.
        seconds: about how long the timed part of one width may take.

    Yields:
        One row a width and form; the explicit form is left out where memory would not suffice.
    """
    for width in channels:
        plain = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False))
        data = cost.Batch(torch.randn(batch, width, size, size), [])
        trainers = {'plain': cost.Trainer(plain, data)}
        for form in ('explicit', 'update'):
            # Map, gradient, momentum; oneDNN's copy; and the copy that the count of allocations trains.
            need = 7 * width * width * 9 * 4 / 2**30
            if form == 'update' or need + SPARE < memory():
                model = copy.deepcopy(plain)
                refocus(model, form=form)
                trainers[form] = cost.Trainer(model, data)
        rounds = rounds_for(trainers['explicit' if 'explicit' in trainers else 'plain'], len(trainers), seconds, 3, 21)
        times = cost.alternate(trainers, rounds, warm_up=1)
        for form in list(trainers):
            trainer = trainers.pop(form)  # the next one's count needs the room
            trainer.optimizer.zero_grad()
            trainer.optimizer.state.clear()
            yield dict(
                channels=width,
                form=form,
                parameters=trainable(trainer.model),
                seconds=statistics.median(times.seconds[form]),
                ratio=times.ratio(form),
                peak_bytes=cost.peak_bytes(cost.copied_trainer(trainer.model, data)),
            )


def memory() -> float:
    """GiB of memory that are free now."""
    import psutil

    return psutil.virtual_memory().available / 2**30


def machine() -> dict[str, Any]:
    """What a figure depends on beside the model."""
    names = [line.split(':')[1].strip() for line in _cpuinfo() if line.startswith('model name')]
    return dict(
        processor=names[0] if names else platform.processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        refconv_mm=__version__,
        time=time.strftime('%Y-%m-%d %H:%M'),
    )


def _cpuinfo() -> list[str]:
    path = Path('/proc/cpuinfo')
    return path.read_text().splitlines() if path.is_file() else []
