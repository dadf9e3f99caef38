"""The type of `conv_cfg=dict(type='RefConv')`, and RefConv in place of mmcv's convolutions."""

from __future__ import annotations

import inspect
from typing import Any

from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmcv.cnn.bricks.conv_ws import ConvAWS2d, ConvWS2d
from mmcv.cnn.bricks.wrappers import Conv2d
from mmengine.registry import MODELS
from torch import nn

from ..layers import RefConv2d
from ..layers.options import split_options
from ..layers.refconv2d import refocus_layer
from ..surgery.conv_types import type_name
from ..surgery.selection import why_not


class RefConvWrapped2d(RefConv2d, Conv2d):
    """RefConv in place of mmcv's wrapped `Conv2d`."""


class RefConv2dAdaptivePadding(RefConv2d, Conv2dAdaptivePadding):
    """RefConv in place of mmcv's `Conv2dAdaptivePadding` (TensorFlow's 'same' padding; EfficientNet)."""


class RefConvWS2d(RefConv2d, ConvWS2d):
    """RefConv in place of mmcv's `ConvWS2d`; basis and update are those of the raw kernel."""


class RefConvAWS2d(RefConv2d, ConvAWS2d):
    """RefConv in place of mmcv's `ConvAWS2d`, with its statistics and its way to load them."""


@MODELS.register_module()
class RefConv:
    """Makes the layers of `conv_cfg=dict(type='RefConv')`: a RefConv2d, or an `nn.Conv2d` if it cannot be refocused.

    Pointwise convolutions, kernels smaller than the map and layers of other `kinds` are `nn.Conv2d`. A class, because
    mmcv refuses functions in configs of the new style.

    Args:
        *args, **kwargs: those of the plain layer, and the options of :class:`refconv_mm.RefConvOptions`.
    """

    layer: type[RefConv2d] = RefConv2d

    def __new__(cls, *args: Any, **kwargs: Any) -> nn.Conv2d:  # type: ignore[misc]
        options, rest = split_options(kwargs, cls.layer.plain_type)
        conv = cls.layer.plain_type(*args, **rest)
        return conv if why_not(conv, options) else refocus_layer(conv, cls.layer, options)


@MODELS.register_module()
class RefConvAdaptivePadding(RefConv):
    """Makes the layers of `conv_cfg=dict(type='RefConvAdaptivePadding')`, for backbones that pad as TensorFlow does."""

    layer = RefConv2dAdaptivePadding


def check_padding(model: nn.Module) -> None:
    """Refuses `RefConv` in a backbone whose own `conv_cfg` pads as TensorFlow does (EfficientNet).

    Raises:
        ValueError: names the backbone and the type that belongs there.
    """
    for name, module in model.named_modules():
        parameter = inspect.signature(type(module)).parameters.get('conv_cfg')
        pads = parameter is not None and parameter.default == dict(type='Conv2dAdaptivePadding')
        own = getattr(module, 'conv_cfg', None) if pads else None
        if type_name(own) == 'RefConv':
            raise ValueError(
                f"{name or type(module).__name__}: conv_cfg=dict(type='RefConv') replaces Conv2dAdaptivePadding, this "
                "backbone's default, and would pad otherwise: write type='RefConvAdaptivePadding'. (If it was "
                "trained with conv_cfg=None, put type='RefocusedBackbone' around it.)"
            )
