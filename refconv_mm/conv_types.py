"""The classes of convolution that RefConv replaces: their forward computes with `.weight`, whatever it does to it."""

from __future__ import annotations

import inspect
from typing import Any

from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmcv.cnn.bricks.conv_ws import ConvAWS2d
from mmcv.cnn.bricks.wrappers import Conv2d as Wrapped
from mmengine.registry import MODELS
from torch import nn

from .layer import RefConv2d


@MODELS.register_module(name='RefConvAdaptivePadding')
class RefConv2dAdaptivePadding(RefConv2d):
    """RefConv in place of mmcv's `Conv2dAdaptivePadding` (TensorFlow's 'same' padding; EfficientNet).

    The arguments are those of :class:`RefConv2d` without `padding_mode`. `padding` is ignored, as in mmcv.
    """

    plain_type = Conv2dAdaptivePadding

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | str | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias, **options)


class RefConvWrapped2d(RefConv2d, Wrapped):
    """RefConv in place of mmcv's wrapped `Conv2d`, whose forward calls that of its base class."""


class RefConvAWS2d(RefConv2d, ConvAWS2d):
    """RefConv in place of mmcv's `ConvAWS2d`, with its statistics and its way to load them."""


# `from_conv2d` makes these layers. By name, because timm is not imported for it. Each class computes with the kernel
# `.weight`, as it is or standardised.
_REFCONV_FOR: dict[str, type[RefConv2d]] = {
    'torch.nn.modules.conv.Conv2d': RefConv2d,
    'mmcv.cnn.bricks.wrappers.Conv2d': RefConvWrapped2d,
    'mmcv.cnn.bricks.conv2d_adaptive_padding.Conv2dAdaptivePadding': RefConv2d,
    'mmcv.cnn.bricks.conv_ws.ConvWS2d': RefConv2d,
    'mmcv.cnn.bricks.conv_ws.ConvAWS2d': RefConvAWS2d,
    'timm.layers.conv2d_same.Conv2dSame': RefConv2d,
    'timm.layers.std_conv.StdConv2d': RefConv2d,
    'timm.layers.std_conv.StdConv2dSame': RefConv2d,
    'timm.layers.std_conv.ScaledStdConv2d': RefConv2d,
    'timm.layers.std_conv.ScaledStdConv2dSame': RefConv2d,
}


def refconv_for(conv: nn.Module) -> type[RefConv2d] | None:
    """The RefConv layer for a convolution of exactly this class; None for a class that RefConv does not replace."""
    return _REFCONV_FOR.get(f'{type(conv).__module__}.{type(conv).__qualname__}')


def pad_as_replaced(model: nn.Module) -> list[str]:
    """Has `RefConv` layers pad like the layers that they replace, where the backbone's default says so.

    EfficientNet's `conv_cfg` is `Conv2dAdaptivePadding` by default. `conv_cfg=dict(type='RefConv')` overrides this, and
    with it the padding that the checkpoint was trained with.

    Returns:
        The names of the layers that padded otherwise.
    """
    changed = []
    for parent, module in model.named_modules():
        default = inspect.signature(type(module).__init__).parameters.get('conv_cfg')
        if default is None or default.default != dict(type='Conv2dAdaptivePadding'):
            continue
        for name, layer in module.named_modules(prefix=parent):
            if isinstance(layer, RefConv2d) and layer.plain_type is nn.Conv2d:
                layer.plain_type, layer.padding = Conv2dAdaptivePadding, (0, 0)
                layer._reversed_padding_repeated_twice = [0, 0, 0, 0]
                changed.append(name)
    return changed
