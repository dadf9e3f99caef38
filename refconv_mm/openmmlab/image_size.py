"""The size of the images that a config tests with."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from ..surgery.conv_types import type_name
from .config import dicts_in

# The key in which a transform has its size, and its form: width and height, height and width, or the side of a square.
KEYS = {
    'Resize': ('scale', 'wh'),
    'RandomResize': ('scale', 'wh'),
    'RandomCrop': ('crop_size', 'hw'),
    'RandomResizedCrop': ('scale', 'hw'),
    'EfficientNetRandomCrop': ('scale', 'side'),
    'ResizeEdge': ('scale', 'side'),
    'CenterCrop': ('crop_size', 'side'),
    'EfficientNetCenterCrop': ('crop_size', 'side'),
}


def tested_size(cfg: Config) -> tuple[int, int] | None:
    """The (height, width) of the images that a config tests with, or None if it names none.

    The data loaders decide: a `test_pipeline` beside them can be stale. Where the test images keep their own size, the
    size of the training images stands for it.
    """
    for name in ('test_dataloader', 'val_dataloader', 'test_pipeline', 'train_dataloader'):
        if sizes := [size for node in transforms(cfg.get(name)) if (size := _size(node))]:
            return sizes[-1]  # of the last transform that sets one
    return None


def transforms(node: Any) -> list[dict]:
    """The transforms of a data loader or pipeline that have a size, in their order."""
    return [each for each in dicts_in(node) if type_name(each) in KEYS]


def _size(node: dict) -> tuple[int, int] | None:
    key, form = KEYS[type_name(node)]
    value = node.get(key)
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return (value[0], value[1]) if form == 'hw' else (value[1], value[0])
    return None
