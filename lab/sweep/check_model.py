"""Checks one model of the sweep: refocus, train a step, fuse, and compare at every point."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.files.writing import write_whole
from refconv_mm.layers.options import KINDS
from refconv_mm.openmmlab.models import load_whole
from refconv_mm.surgery import fuse, named_refconvs, refocus
from refconv_mm.surgery.selection import named_convs
from refconv_mm.checkpoints.verify import compare_models, random_input, tensors_of
from .families import Subject

# What is tried in turn to run a model: its raw outputs, those of a part that needs no annotations, optical flow.
WAYS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    'forward': lambda model, x: model(x, mode='tensor') if hasattr(model, 'data_preprocessor') else model(x),
    'extract_feat': lambda model, x: model.extract_feat(x),
    'backbone': lambda model, x: _part(model, 'backbone')(x),
    'two images': lambda model, x: model(x, x),
}


class Run(nn.Module):
    """A model with the way to run it."""

    def __init__(self, model: nn.Module, way: str) -> None:
        super().__init__()
        self.model, self.way = model, way

    def forward(self, x: Tensor) -> Any:
        torch.manual_seed(0)
        return WAYS[self.way](self.model, x)


def check_model(library: str, name: str) -> dict[str, Any]:
    """What refocusing and fusing do to a model.

    Returns:
        `found`, `refocused`, `left` (reasons and how often), `note`, `ran` (the way and the input), `conv_cfg` (how
        many of the backbone's KxK convolutions it reaches), `start` and `fused` (the largest relative
        differences), `still` (updates without gradient) and `result`: `'right'`, or what went wrong.
    """
    row: dict[str, Any] = {}
    try:
        subject = Subject(library, name)
        plain = subject.build()
    except Exception as error:
        return {'result': f'not built: {_line(error)}'}
    row['found'] = len(named_convs(plain))
    refocused = copy.deepcopy(plain)
    try:
        report = refocus(refocused, kinds=KINDS)
    except ValueError as error:
        return {**row, 'refocused': 0, 'result': f'nothing to refocus: {str(error).partition("reasons: ")[2] or error}'}
    row |= dict(refocused=len(report.rows), left=Counter(report.skipped.values()), note=report.note)
    try:
        way, inputs = _way(plain, subject.inputs(plain))
    except Exception as error:
        return {**row, 'result': f'does not run here: {_line(error)}'}
    row['ran'] = f'{way} {"x".join(map(str, inputs.shape))}'
    if lost := copy.deepcopy(plain).load_state_dict(plain.state_dict(), strict=False).missing_keys:
        return {**row, 'result': f'does not run here: the plain model does not load its own state ({lost[0]})'}
    try:
        row |= _round(plain, refocused, way, inputs)
        if subject.cfg is not None:
            row['conv_cfg'] = _reach(subject, plain)
    except Exception as error:
        no_room = isinstance(error, MemoryError) or 'allocate memory' in str(error)
        row['result'] = f'does not run here: {_line(error)}' if no_room else f'WRONG: {_line(error)}'
    return row


def _round(plain: nn.Module, refocused: nn.Module, way: str, inputs: Tensor) -> dict[str, Any]:
    """From the start to the fused file; raises where a step is not right."""
    start = compare_models(Run(refocused, way), Run(plain, way), inputs)
    start.check()
    again = copy.deepcopy(refocused)  # before the step: RAFT keeps tensors of its graph, which cannot be copied
    still = _step(refocused, way, inputs)
    for _, layer in named_refconvs(again):
        layer.basis.zero_(), layer.restart()
    load_whole(again, _through_file(refocused), 'the refocused state')
    fused = copy.deepcopy(again)
    fuse(fused)
    if list(fused.state_dict()) != list(plain.state_dict()):
        raise ValueError('the keys of the fused state differ from the plain ones')
    types = [(n, type(m)) for n, m in plain.named_modules()]
    if [(n, type(m)) for n, m in fused.named_modules()] != types:
        raise ValueError('the classes of the fused model differ from the plain ones')
    fresh = copy.deepcopy(plain)  # building it again takes most of the time; none of its numbers stays
    with torch.no_grad():
        for tensor in fresh.state_dict().values():
            tensor.fill_(1)
    load_whole(fresh, _through_file(fused), 'the fused state')
    end = compare_models(Run(refocused, way), Run(fresh, way), inputs)
    end.check()
    return dict(start=max(start.worst[1], start.model), fused=max(end.worst[1], end.model), still=still, result='right')


def _step(model: nn.Module, way: str, inputs: Tensor) -> int:
    """A step of SGD, and then noise on every update, so that none is fused at its start.

    The loss is the mean square of the outputs, and of those of layers that the input does not reach.

    Returns:
        How many updates have a gradient of zero (or none), as before a zero-initialised batch norm.

    Raises:
        ValueError: a gradient is not finite.
    """
    layers, reached = named_refconvs(model), set()
    handles = [layer.register_forward_hook(lambda module, *_: reached.add(id(module))) for _, layer in layers]
    outputs = [t for t in tensors_of(Run(model, way)(inputs)) if t.requires_grad]
    for handle in handles:
        handle.remove()
    outputs += [layer(random_input(layer)) for _, layer in layers if id(layer) not in reached]
    sum(output.square().mean() for output in outputs).backward()
    trained = [layer.trained for _, layer in layers]
    norm = torch.nn.utils.clip_grad_norm_(trained, 0.1)
    for name, layer in layers:
        if layer.trained.grad is not None and not layer.trained.grad.isfinite().all():
            raise ValueError(f'the gradient of {name}.{layer.trained_name} is not finite (norm {norm})')
    torch.optim.SGD(trained, lr=0.1).step()
    still = sum(update.grad is None or not update.grad.any() for update in trained)
    with torch.no_grad():
        for _, layer in layers:
            layer.trained.add_(torch.randn_like(layer.trained) * layer.basis.std() / 100)
    model.zero_grad()
    return still


def _reach(subject: Subject, plain: nn.Module) -> str:
    """How many KxK convolutions of the backbone `conv_cfg` reaches, of those that refocusing reaches."""
    assert subject.cfg is not None
    config = subject.cfg.model.get('backbone')
    if config is None:
        return 'no backbone'
    if own := config.get('conv_cfg'):
        return f'has its own: {own["type"]}'
    backbone = plain.backbone
    whole = len(refocus(nn.ModuleList([copy.deepcopy(backbone)]), kinds=KINDS, dry_run=True).rows)
    try:
        kind = 'RefConvAdaptivePadding' if config['type'].rpartition('.')[2].startswith('EfficientNet') else 'RefConv'
        reached = subject.build_backbone(conv_cfg=dict(type=kind, kinds=list(KINDS)))
    except TypeError as error:
        if "unexpected keyword argument 'conv_cfg'" in str(error):
            return 'not taken'
        raise
    layers = named_refconvs(reached)
    if layers:
        load_whole(reached, backbone.state_dict(), 'the plain state')
        _, inputs = _way(backbone, subject.inputs(backbone))
        compare_models(reached, backbone, inputs).check()
    return f'{len(layers)} of {whole}'


def _way(model: nn.Module, inputs: list[Tensor]) -> tuple[str, Tensor]:
    """The first way and input with which a model runs and gives tensors."""
    first: Exception | None = None
    # torchvision's detectors resize any image to 800 pixels; their outputs are boxes, which random weights do not give.
    ways = ['backbone'] if hasattr(model, 'transform') and hasattr(model, 'backbone') else WAYS
    for way in ways:
        for x in inputs:
            try:
                with torch.no_grad():
                    outputs = [t for t in tensors_of(Run(model, way)(x)) if t.numel()]
                if not all(t.isfinite().all() for t in outputs):
                    raise ValueError('with random weights its outputs are not finite')
                if outputs:
                    return way, x
            except Exception as error:
                first = first or error
    raise first or ValueError('no outputs')


def _part(model: nn.Module, name: str) -> nn.Module:
    """The first module of this name."""
    for path, module in model.named_modules():
        if path.rpartition('.')[2] == name:
            return module
    raise ValueError(f'the model has no {name}')


def _through_file(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model as the project's reader returns it from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'state.pth'
        write_whole(path, lambda temporary: torch.save(dict(state_dict=model.state_dict(), meta={}), temporary))
        return read_checkpoint(path)['state_dict']


def _line(error: Exception) -> str:
    """An error in a line."""
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text[:160]}'
