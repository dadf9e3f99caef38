"""RefConv in place of timm's convolutions."""

from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame

from ..layers import RefConv2d
from .conv_types import replaces


@replaces
class RefConv2dSame(RefConv2d, Conv2dSame):
    """RefConv in place of timm's `Conv2dSame`."""

    plain_type = Conv2dSame


@replaces
class RefConvStd2d(RefConv2d, StdConv2d):
    """RefConv in place of timm's `StdConv2d`; basis and update are those of the raw kernel."""

    plain_type = StdConv2d


@replaces
class RefConvStd2dSame(RefConv2d, StdConv2dSame):
    """RefConv in place of timm's `StdConv2dSame`."""

    plain_type = StdConv2dSame


@replaces
class RefConvScaledStd2d(RefConv2d, ScaledStdConv2d):
    """RefConv in place of timm's `ScaledStdConv2d`."""

    plain_type = ScaledStdConv2d


@replaces
class RefConvScaledStd2dSame(RefConv2d, ScaledStdConv2dSame):
    """RefConv in place of timm's `ScaledStdConv2dSame`."""

    plain_type = ScaledStdConv2dSame
