"""Generated data sets for the demo and the tests, in the layouts of VOC and Cityscapes."""

from .scenes import make_cityscapes
from .shapes import SHAPES, make_voc

__all__ = ['SHAPES', 'make_cityscapes', 'make_voc']
