"""A registered builder that refocuses any backbone from its config, also one without `conv_cfg`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from ..layers import RefConvOptions
from ..layers.refconv2d import refocus_layer
from ..layers.transformation import initial_values
from ..surgery.conv_types import refconv_for
from ..surgery.selection import select
from .models import build_in_scope


@MODELS.register_module(name='RefocusedBackbone')
def build_refocused_backbone(
    backbone: dict,
    include: str | Sequence[str] = '*',
    exclude: str | Sequence[str] = (),
    pretrained: str | None = None,
    init_cfg: dict | list | None = None,
    **options: Any,
) -> nn.Module:
    """Builds a backbone and refocuses it. It returns the backbone itself, without a wrapper.

    So the keys have no prefix, and a plain checkpoint fills the bases. In a config::

        backbone=dict(type='RefocusedBackbone', include=['*'], backbone=dict(type='mmseg.MixVisionTransformer', ...))

    Args:
        backbone: config of the backbone; a scope in its type (`'mmseg.'`) takes it from another library.
        include, exclude, **options: as in :func:`refconv_mm.refocus`.
        pretrained, init_cfg: passed to the backbone; mmseg's segmentors set `pretrained` here.

    Raises:
        TypeError, ValueError: `backbone` is not a config, an option is wrong, or no convolution matches.
    """
    if not isinstance(backbone, dict) or 'type' not in backbone:
        raise TypeError(f"backbone must be a config dict with a 'type', got {backbone!r}")
    with _loaded_modules() as loaded:
        model = build_in_scope(backbone, dict(pretrained=pretrained, init_cfg=init_cfg))
    checked = RefConvOptions.of(options)
    for conv in select(model, include, exclude, checked)[0].values():
        # The others are filled by a checkpoint that comes later; RefConvHook checks this before training.
        values = initial_values(conv.weight, conv.groups, checked) if conv in loaded else None
        refocus_layer(conv, refconv_for(conv), checked, values)  # type: ignore[arg-type]
    return model


@contextmanager
def _loaded_modules() -> Iterator[set[nn.Module]]:
    """Collects the modules that load a state dict in a block: timm's constructors do, with `pretrained=True`."""
    loaded: set[nn.Module] = set()
    original = nn.Module._load_from_state_dict

    def load(self: nn.Module, state_dict: Any, prefix: str, *args: Any) -> None:
        if prefix + 'weight' in state_dict:
            loaded.add(self)
        original(self, state_dict, prefix, *args)

    nn.Module._load_from_state_dict = load  # type: ignore[assignment]
    try:
        yield loaded
    finally:
        nn.Module._load_from_state_dict = original  # type: ignore[method-assign]
