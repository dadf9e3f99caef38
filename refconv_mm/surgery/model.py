"""`refocus(model)` and its inverse `fuse(model)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..layers import RefConv2d, RefConvOptions
from ..layers.refconv2d import fuse_layer, refocus_layer
from ..layers.transformation import initial_values
from .conv_types import plain_conv_cfg, refconv_for
from .report import Report, Row, trainable
from .selection import named_refconvs, note_on, select


def refocus(
    model: nn.Module,
    include: str | Sequence[str] = '*',
    exclude: str | Sequence[str] = (),
    *,
    dry_run: bool = False,
    **options: Any,
) -> Report:
    """Turns matching convolutions into RefConv layers, in place; inverse of :func:`fuse`.

    The layers stay the same objects, with their hooks, values, device, dtype, mode and `requires_grad`. Call it before
    the optimizer is built: an earlier optimizer does not have the trained parameters.

    Args:
        model: any module; its kernels become the bases.
        include: globs on module names, such as `'backbone.*'`.
        exclude: globs of modules to leave out; they override `include`.
        dry_run: only report.
        **options: `map_k`, `gain`, `kinds`, `init`, `identity`; see :class:`refconv_mm.RefConvOptions`.

    Returns:
        The report; `print` shows it as a table.

    Raises:
        TypeError, ValueError: an option is wrong, or no convolution matches. The model is then unchanged.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
        >>> refocus(model).matched
        ['0']
        >>> fuse(model).matched
        ['0']
        >>> type(model[0]).__name__
        'Conv2d'
    """
    checked = RefConvOptions.of(options)
    chosen, skipped = select(model, include, exclude, checked)
    before = trainable(model)
    report = Report('refocus', [Row.of(name, conv) for name, conv in chosen.items()], skipped, before, before)
    with torch.random.fork_rng(devices=[], enabled=dry_run):
        # All values are computed before the first layer changes, so an error leaves the model unchanged.
        values = {name: initial_values(conv.weight, conv.groups, checked) for name, conv in chosen.items()}
    for name, conv in chosen.items():
        report.params_after += (values[name][0].numel() - conv.weight.numel()) * conv.weight.requires_grad
        if not dry_run:
            refocus_layer(conv, refconv_for(conv), checked, values[name])  # type: ignore[arg-type]
    return report


def fuse(model: nn.Module, *, dry_run: bool = False) -> Report:
    """Turns every RefConv layer into an ordinary convolution, in place; inverse of :func:`refocus`.

    Modules that keep `conv_cfg=dict(type='RefConv')` to build layers later (RepVGG) build plain ones afterwards.

    Args:
        model: a model with RefConv layers.
        dry_run: only report.

    Returns:
        The report.

    Raises:
        TypeError: `model` is not a module.
        ValueError: the model has no RefConv layer, or is one itself. It is then unchanged.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be an nn.Module, got {type(model).__name__}')
    if isinstance(model, RefConv2d):
        raise ValueError('the model is itself a RefConv layer: use its to_conv2d()')
    layers, before = named_refconvs(model), trainable(model)
    if not layers:
        raise ValueError('the model has no RefConv layer to fuse; was it fused before, or built without RefConv?')
    report = Report('fuse', [Row.of(*each) for each in layers], {}, before, before, note_on(model))
    for _, layer in layers:
        report.params_after += (layer.basis.numel() - layer.trained.numel()) * layer.trained.requires_grad
        if not dry_run:
            fuse_layer(layer)
    for module in model.modules() if not dry_run else ():
        for name, value in vars(module).items():
            if not name.startswith('_'):
                vars(module)[name] = plain_conv_cfg(value)
    return report
