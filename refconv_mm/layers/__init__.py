"""The refocusing transformation, its options, and the layer; torch alone."""

from .options import RefConvOptions
from .refconv2d import RefConv2d

__all__ = ['RefConv2d', 'RefConvOptions']
