"""RefConv in place of timm's convolutions. The basis of a standardised convolution is its raw kernel."""

from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame

from ..layers import RefConv2d


class RefConv2dSame(RefConv2d, Conv2dSame):
    """RefConv in place of timm's `Conv2dSame`."""


class RefConvStd2d(RefConv2d, StdConv2d):
    """RefConv in place of timm's `StdConv2d`."""


class RefConvStd2dSame(RefConv2d, StdConv2dSame):
    """RefConv in place of timm's `StdConv2dSame`."""


class RefConvScaledStd2d(RefConv2d, ScaledStdConv2d):
    """RefConv in place of timm's `ScaledStdConv2d`."""


class RefConvScaledStd2dSame(RefConv2d, ScaledStdConv2dSame):
    """RefConv in place of timm's `ScaledStdConv2dSame`."""
