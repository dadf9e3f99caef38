"""Comparisons of arms with their control: runs from the same start on the same data, and their report.

The import registers the types that the configs of runs name.
"""

from ..nets import small_image_backbone
from . import matrices, other_methods, seeding

__all__ = ['matrices', 'other_methods', 'seeding', 'small_image_backbone']
