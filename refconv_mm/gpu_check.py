"""What the first person with a GPU runs: refocusing, mmcv's ops, every shipped config, ONNX and two processes on it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn

from .analysis.common.made import made_batch, make_model
from .data import make_voc
from .export import export_checkpoint
from .openmmlab.gpu_ops import check_ops, compiled_for_gpu
from .openmmlab.models import build_model
from .onnx_model import open_session
from .surgery import fuse, refocus
from .verify import compare_models, example_input
from .openmmlab.versions import FORKS, OPTIONAL, REQUIRED, distribution_version

# Rounding of float32, where a GPU sums in another order; TF32 is off.
TOLERANCE = 1e-4
SIZE = 256, 256
_KINDS = {'dense': dict(groups=1), 'grouped': dict(groups=4), 'depthwise': dict(groups=16)}


@dataclass
class Check:
    """One thing to try, and how it ended: `'ok'`, `'skipped'` or `'failed'`."""

    name: str
    run: Callable[[], str]
    state: str = ''
    text: str = ''

    def __call__(self) -> None:
        try:
            self.state, self.text = 'ok', self.run()
        except SkipError as reason:
            self.state, self.text = 'skipped', str(reason)
        except Exception as error:  # the report is for errors of any kind
            self.state, self.text = 'failed', f'{type(error).__name__}: {" ".join(str(error).split())[:500]}'


class SkipError(Exception):
    """A check that this machine cannot run."""


def environment(device: torch.device) -> list[tuple[str, str]]:
    """What a report of an error needs to say about the machine."""
    names = [*REQUIRED, 'torchvision', *OPTIONAL, *FORKS.values(), 'onnxruntime', 'onnxruntime-gpu', 'numpy']
    found = [(name, distribution_version(name)) for name in names]
    rows = [('Python', sys.version.split()[0]), *((name, str(have)) for name, have in found if have)]
    rows.append(('CUDA of torch', str(torch.version.cuda)))
    rows.append(('mmcv compiled for', 'CPU and GPU' if compiled_for_gpu() else 'the CPU; torchvision stands in'))
    if device.type == 'cuda':
        rows += [(f'GPU {i}', torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
        rows.append(('cuDNN', str(torch.backends.cudnn.version())))
    return rows


def checks(configs: list[Path], demo: Path, device: torch.device) -> Iterator[Check]:
    """All checks, the quick ones first.

    Args:
        configs: refocused configs; each takes a step.
        demo: the refocused config of the demo's detector, for two processes.
        device: to check; the CPU for a trial of this command.
    """
    for name, options in _KINDS.items():
        yield Check(f'{name} layer', partial(layer, device, **options))
        yield Check(f'{name} layer, mixed precision', partial(mixed, device, **options))
    yield Check("mmcv's ops", partial(ops, device))
    for path in configs:
        yield Check(f'{path.parent.name}/{path.stem}', partial(step, path, device))
    yield Check('ONNX', partial(onnx, configs[0], device))
    yield Check('two processes', partial(two_processes, demo, device))


def layer(device: torch.device, groups: int) -> str:
    """A refocused layer on the device against the same one on the CPU in float64: output, a step, the fused kernel."""
    torch.manual_seed(0)
    exact = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=groups)).double()
    refocus(exact)
    other = copy.deepcopy(exact).float().to(device)
    inputs = torch.randn(4, 16, 12, 12, dtype=torch.float64)
    largest = 0.0
    for _ in range(3):
        for model in (exact, other):
            batch = inputs.to(next(model.parameters())).contiguous(memory_format=torch.channels_last)
            loss = model(batch).square().mean()
            model.zero_grad()
            loss.backward()
            torch.optim.SGD(model.parameters(), lr=1e-3).step()
        largest = max(largest, _difference(exact, other, inputs))
    fused = copy.deepcopy(other)
    fuse(fused)
    largest = max(largest, _difference(exact, fused, inputs))
    if not largest < TOLERANCE:
        raise ValueError(f'differs by {largest:.1e} of the largest output from float64 on the CPU')
    return f'three steps and the fused kernel agree with float64 on the CPU to {largest:.1e}'


@torch.no_grad()
def _difference(exact: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    expected = exact(inputs)
    got = other(inputs.to(next(other.parameters()))).cpu().double()
    return float((got - expected).abs().max() / expected.abs().max())


def mixed(device: torch.device, groups: int) -> str:
    """A step under autocast: finite gradients of the updates, in float32."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=groups)).to(device)
    refocus(model)
    dtype = torch.float16 if device.type == 'cuda' else torch.bfloat16
    with torch.autocast(device.type, dtype=dtype):
        output = model(torch.randn(4, 16, 12, 12, device=device))
    output.float().square().mean().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is None or parameter.grad.dtype != torch.float32 or not parameter.grad.isfinite().all():
            raise ValueError(f'the gradient of {name} is not finite in float32')
    return f'output {output.dtype}, gradients float32'


def ops(device: torch.device) -> str:
    """`nms` and `roi_align` on the device against the CPU."""
    from mmcv.ops import batched_nms, roi_align

    random = torch.Generator().manual_seed(0)
    kept = 0
    for count in (0, 1, 50, 500):
        corner, size = (torch.rand(count, 2, generator=random) * 100 for _ in range(2))
        boxes, scores = torch.cat([corner, corner + size], dim=1), torch.rand(count, generator=random)
        classes = torch.randint(0, 5, (count,), generator=random)
        if count:  # batched_nms takes the largest coordinate
            config = dict(type='nms', iou_threshold=0.5)
            wanted = batched_nms(boxes, scores, classes, config)[1]
            got = batched_nms(boxes.to(device), scores.to(device), classes.to(device), config)[1]
            if not torch.equal(wanted, got.cpu()):
                raise ValueError(f'nms keeps other boxes of {count} than on the CPU')
            kept += len(wanted)
    rois = torch.cat([torch.zeros(count, 1), boxes], dim=1)
    features = torch.randn(1, 8, 50, 50, generator=random)
    wanted = roi_align(features, rois, 7, 0.25, 0, 'avg', True)
    got = roi_align(features.to(device), rois.to(device), 7, 0.25, 0, 'avg', True).cpu()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    return f'nms keeps the same {kept} boxes, roi_align the same values as on the CPU'


def step(path: Path, device: torch.device) -> str:
    """A training step of a config's model on made images, in mixed precision on a GPU; then the fused model."""
    cfg = Config.fromfile(path)
    model, classes = make_model(cfg)
    model = model.to(device).train()
    if device.type != 'cpu':
        check_ops(model)
    batch = made_batch(SIZE, 2, classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    wrapper: Any = AmpOptimWrapper(optimizer=optimizer) if device.type == 'cuda' else OptimWrapper(optimizer)
    with wrapper.optim_context(model):
        samples = [sample.to(device) for sample in batch.samples]
        loss, _ = model.parse_losses(model(batch.inputs.to(device), samples, mode='loss'))
    wrapper.update_params(loss)
    if not torch.isfinite(loss):
        raise ValueError(f'the loss is {loss:.3g}')
    plain = copy.deepcopy(model.eval())
    report = fuse(plain)
    comparison = compare_models(model, plain, example_input(cfg, SIZE).to(device))
    comparison.check()
    return f'loss {loss:.3g}; {len(report.rows)} layers fused, end to end to {comparison.model:.1e}'


def onnx(path: Path, device: torch.device) -> str:
    """A model as ONNX on onnxruntime's provider for the device."""
    cfg = Config.fromfile(path)
    checkpoint = dict(state_dict=build_model(cfg).state_dict(), meta={})
    exported = export_checkpoint(cfg, checkpoint, shape=SIZE)
    session = open_session(exported.graph.proto.SerializeToString())
    provider = session.get_providers()[0]
    if device.type == 'cuda' and not provider.startswith('CUDA'):
        raise SkipError('onnxruntime has no CUDA provider: pip install onnxruntime-gpu')
    return f'{provider}, equal to torch to {exported.graph.difference:.1e}'


def two_processes(path: Path, device: torch.device) -> str:
    """Two steps of a refocused detector under torchrun: NCCL with two GPUs, gloo without a GPU."""
    if device.type == 'cuda' and torch.cuda.device_count() < 2:
        raise SkipError(f'{torch.cuda.device_count()} GPU')
    with tempfile.TemporaryDirectory() as folder:
        cfg, root = Config.fromfile(path), make_voc(Path(folder, 'data'), train=24, test=4, size=96)
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.dataset.data_root = f'{root}/'
        cfg.train_cfg.update(max_iters=2)
        cfg.default_hooks.checkpoint.update(interval=2)
        cfg.dump(Path(folder, 'config.py'))
        plain = build_model(cfg)
        fuse(plain)
        torch.save(dict(state_dict=plain.state_dict(), meta={}), Path(folder, 'start.pth'))
        launch = ('torch.distributed.run', '--standalone', '--nproc_per_node=2', '-m', 'refconv_mm')
        ended = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', *launch, 'train', 'config.py', '--launcher', 'pytorch',
             '--init', 'start.pth'],
            cwd=folder, capture_output=True, text=True, timeout=900, env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )  # fmt: skip
    if ended.returncode:
        raise ValueError((ended.stdout + ended.stderr)[-400:])
    return f'two steps under {"NCCL" if device.type == "cuda" else "gloo"}'
