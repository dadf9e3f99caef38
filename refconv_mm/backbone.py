"""A registered builder that refocuses any backbone from its config, also one without `conv_cfg`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from .options import RefConvOptions
from .surgery import named_refconvs, refocus
from .targets import KINDS, as_patterns


@MODELS.register_module(name='RefocusedBackbone')
def build_refocused_backbone(
    backbone: dict,
    include: str | Sequence[str] = '*',
    exclude: str | Sequence[str] = (),
    kinds: Sequence[str] = KINDS,
    pretrained: str | None = None,
    init_cfg: dict | list | None = None,
    **options: Any,
) -> nn.Module:
    """Builds a backbone and refocuses it; what comes back is the backbone itself, without a wrapper.

    So keys have no prefix, and a plain checkpoint fills the bases. In a config::

        backbone=dict(type='RefocusedBackbone', include=['*'], backbone=dict(type='mmseg.MixVisionTransformer', ...))

    Args:
        backbone: config of the backbone; a scope in its type (`'mmseg.'`) takes it from another library.
        include, exclude, kinds, **options: as in :func:`refconv_mm.refocus`.
        pretrained, init_cfg: handed to the backbone; mmseg's segmentors write `pretrained` here.

    Raises:
        TypeError, ValueError: `backbone` is no config of a backbone, a bad option, or nothing matches.
    """
    if not isinstance(backbone, dict) or 'type' not in backbone:
        raise TypeError(f"backbone must be a config dict with a 'type', got {backbone!r}")
    RefConvOptions.of(options)
    as_patterns('include', include), as_patterns('exclude', exclude)
    # Seen from the scope in force, so an unscoped type is found where the user's config is at home.
    extra = {key: value for key, value in (('pretrained', pretrained), ('init_cfg', init_cfg)) if value is not None}
    with MODELS.switch_scope_and_registry(None) as registry:
        model = registry.build({**backbone, **extra})
    refocus(model, include, exclude, kinds=kinds, **options)
    for _, layer in named_refconvs(model):
        layer.basis_source = 'random'  # the checkpoint is still to come; RefConvHook sees to it that it did
    return model
