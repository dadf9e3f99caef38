"""Backbones for small images: ImageNet nets whose first layers keep the resolution."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import nn

from refconv_mm.openmmlab.models import build_in_scope


@MODELS.register_module(name='LabSmallImageBackbone')
def build_small_image_backbone(
    backbone: dict,
    stride1: Sequence[str] = (),
    without: Sequence[str] = (),
    init_cfg: dict | list | None = None,
) -> nn.Module:
    """Builds a backbone with smaller strides, as nets for 32x32 images have them; keys and kernels stay.

    Args:
        backbone: config of the backbone.
        stride1: names of convolutions that get stride 1.
        without: names of layers that become the identity, such as a max pool.
        init_cfg: passed to the backbone.

    Raises:
        ValueError: the backbone has no layer of a name, or a layer in `stride1` is not a convolution.
    """
    model = build_in_scope(backbone, dict(init_cfg=init_cfg))
    modules = dict(model.named_modules())
    for name in [*stride1, *without]:
        if name not in modules or (name in stride1 and not isinstance(modules[name], nn.Conv2d)):
            raise ValueError(
                f'LabSmallImageBackbone: {type(model).__name__} has no {"convolution" if name in stride1 else "layer"} '
                f'{name!r}; it has, for instance: {", ".join(list(modules)[1:6])}'
            )
    for name in stride1:
        modules[name].stride = (1, 1)
    for name in without:
        parent, _, child = name.rpartition('.')
        setattr(modules[parent] if parent else model, child, nn.Identity())
    return model
