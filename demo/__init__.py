"""The demo and its synthetic data sets, in the layouts of VOC and Cityscapes; the tests use them, too."""

from .scenes import make_cityscapes
from .shapes import SHAPES, make_voc

__all__ = ['SHAPES', 'make_cityscapes', 'make_voc']
