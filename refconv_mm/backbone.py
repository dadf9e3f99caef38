"""A registered builder that refocuses any backbone from its config, also one without `conv_cfg`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from .models import build_in_scope
from .options import RefConvOptions
from .surgery import named_refconvs, refocus
from .targets import as_patterns


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
    RefConvOptions.of(options)
    as_patterns('include', include), as_patterns('exclude', exclude)
    model = build_in_scope(backbone, dict(pretrained=pretrained, init_cfg=init_cfg))
    refocus(model, include, exclude, **options)
    for _, layer in named_refconvs(model):
        layer.basis_source = 'random'  # no checkpoint is loaded yet; RefConvHook checks this before training
    return model
