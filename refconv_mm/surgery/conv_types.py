"""The convolution classes that RefConv replaces: those whose forward reads `.weight`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import nn

from ..layers import RefConv2d, RefConvOptions
from ..layers.refconv2d import REFCONV_FOR

# The plain types that stand for ours in fused models; None is mmcv's default, nn.Conv2d.
PLAIN_NAMES = {'RefConv': None, 'RefConvAdaptivePadding': 'Conv2dAdaptivePadding'}
_OPTIONS = {field.name for field in fields(RefConvOptions)}


def refconv_for(conv: nn.Module) -> type[RefConv2d] | None:
    """Returns the RefConv layer for a convolution of exactly this class; None for a class that RefConv leaves alone."""
    if type(conv) not in REFCONV_FOR and type(conv).__module__.startswith('timm.layers.'):
        from . import timm_layers  # noqa: F401  defines them; imported for models that have them
    return REFCONV_FOR.get(type(conv))


def plain_conv_cfg(node: Any) -> Any:
    """Returns a config in which plain layers replace those of ours; the same object where there are none."""
    if isinstance(node, list | tuple):
        new = [plain_conv_cfg(value) for value in node]
        return node if all(a is b for a, b in zip(new, node, strict=True)) else type(node)(new)
    if not isinstance(node, dict):
        return node
    if (name := type_name(node)) in PLAIN_NAMES:
        rest = {key: value for key, value in node.items() if key not in _OPTIONS and key != 'type'}
        plain = PLAIN_NAMES[name]
        return {'type': plain or 'Conv2d', **rest} if rest or plain else None
    changed = {key: new for key, value in node.items() if (new := plain_conv_cfg(value)) is not value}
    return type(node)({**node, **changed}) if changed else node


def type_name(cfg: Any) -> str:
    """Returns the type that a config dict names, without scope or module; '' if it names none."""
    kind = cfg.get('type', '') if isinstance(cfg, dict) else ''
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))).rpartition('.')[2]
