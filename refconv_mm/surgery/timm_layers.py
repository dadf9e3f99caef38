"""RefConv in place of timm's convolutions."""

from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame

from ..layers import RefConv2d
from .conv_types import replaces


@replaces(Conv2dSame)
class RefConv2dSame(RefConv2d, Conv2dSame):
    """RefConv in place of timm's `Conv2dSame`."""


@replaces(StdConv2d)
class RefConvStd2d(RefConv2d, StdConv2d):
    """RefConv in place of timm's `StdConv2d`; basis and update are those of the raw kernel."""


@replaces(StdConv2dSame)
class RefConvStd2dSame(RefConv2d, StdConv2dSame):
    """RefConv in place of timm's `StdConv2dSame`."""


@replaces(ScaledStdConv2d)
class RefConvScaledStd2d(RefConv2d, ScaledStdConv2d):
    """RefConv in place of timm's `ScaledStdConv2d`."""


@replaces(ScaledStdConv2dSame)
class RefConvScaledStd2dSame(RefConv2d, ScaledStdConv2dSame):
    """RefConv in place of timm's `ScaledStdConv2dSame`."""
