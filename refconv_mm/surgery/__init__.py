"""Refocusing and fusing models: which convolutions, the change itself, its report; torch and rich."""

from .model import fuse, refocus
from .report import Report, trainable
from .selection import named_refconvs

__all__ = ['Report', 'fuse', 'named_refconvs', 'refocus', 'trainable']
