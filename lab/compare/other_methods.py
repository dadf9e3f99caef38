"""Attention modules in a trained net, which the paper compares with."""

from __future__ import annotations

import copy
from fnmatch import fnmatchcase

from mmengine.registry import MODELS
from mmengine.utils import get_object_from_string
from torch import Tensor, nn

from refconv_mm.openmmlab.models import build_in_scope


@MODELS.register_module(name='LabAttentionBackbone')
def build_attention_backbone(
    backbone: dict, attention: dict, after: str, init_cfg: dict | list | None = None
) -> nn.Module:
    """Builds a backbone with an attention module behind some of its layers; the keys of the backbone stay.

    The paper compares refocusing with squeeze-and-excitation and CBAM, which cost time at inference (section 4.2).

    Args:
        backbone: config of the backbone.
        attention: the module: its `type`, an import path, and its options. It gets the number of channels first.
        after: glob of the names of the layers, which have `out_channels`.
        init_cfg: passed to the backbone.

    Raises:
        ValueError: no layer of the backbone matches, or the module's type cannot be imported.
    """
    model = build_in_scope(backbone, dict(init_cfg=init_cfg))
    layers = [module for name, module in model.named_modules() if fnmatchcase(name, after)]
    if not layers:
        names = ', '.join([name for name, _ in model.named_modules() if name][:6])
        raise ValueError(f'LabAttentionBackbone: after={after!r} matches no layer; there are, for instance: {names}')
    options = copy.deepcopy(dict(attention))
    path = options.pop('type')
    cls = get_object_from_string(path)
    if cls is None:
        raise ValueError(f'LabAttentionBackbone: attention has type={path!r}, which cannot be imported')
    for layer in layers:
        layer.attention = cls(layer.out_channels, **options)
        layer.register_forward_hook(_attend)
    return model


def _attend(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return layer.attention(output)
