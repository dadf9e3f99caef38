"""Comparisons of arms with their control: runs from the same start on the same data, and their report.

The import registers the types that the configs of runs name. Configs of version 0.1 import this package for
`SmallImageBackbone`.
"""

from ..nets.small_image_backbone import build_small_image_backbone
from .metrics import OtherMetricHook
from .other_methods import FollowingBasisHook, build_attention_backbone
from .seeding import NumberedSampler, SeededDataset

__all__ = [
    'FollowingBasisHook',
    'NumberedSampler',
    'OtherMetricHook',
    'SeededDataset',
    'build_attention_backbone',
    'build_small_image_backbone',
]
