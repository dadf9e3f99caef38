"""RefConv for convolutions that compute their padding, and the RefConv layer for each class of convolution."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmcv.cnn.bricks.wrappers import Conv2d as WrappedConv2d
from mmengine.registry import MODELS
from torch import Tensor, nn

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

    @staticmethod
    def conv_args(conv: nn.Conv2d) -> dict[str, Any]:
        arguments = RefConv2d.conv_args(conv)
        del arguments['padding_mode']  # mmcv's class does not have it
        return arguments

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: list[int] = []
        for axis in (1, 0):  # F.pad takes the last axis first
            size, stride = input.shape[axis - 2], self.stride[axis]
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            missing = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            padding += [missing // 2, missing - missing // 2]
        return super()._conv_forward(F.pad(input, padding) if any(padding) else input, weight, bias)


# The RefConv layer for each class of convolution that can be refocused.
REFCONV_FOR: dict[type[nn.Conv2d], type[RefConv2d]] = {
    nn.Conv2d: RefConv2d,
    WrappedConv2d: RefConv2d,
    Conv2dAdaptivePadding: RefConv2dAdaptivePadding,
}
