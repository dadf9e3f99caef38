"""Arms against their control: every run from the same start, with the same data, once, and what came of it.

Importing this registers what the runs and the configs of small images name.
"""

from .metrics import OtherMetricHook
from .nets import build_small_image_backbone
from .seeding import NumberedSampler, SeededDataset

__all__ = ['NumberedSampler', 'OtherMetricHook', 'SeededDataset', 'build_small_image_backbone']
