"""Refocusing and fusing models: which convolutions, the change itself, its report; torch and rich."""

from .model import fuse, named_refconvs, refocus
from .report import Report, trainable

__all__ = ['Report', 'fuse', 'named_refconvs', 'refocus', 'trainable']
