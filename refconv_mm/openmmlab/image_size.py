"""The size of the images that a config tests with, and the anchors of SSDLite at a size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

# The key in which a transform has its size, and its form: width and height, height and width, or the side of a square.
KEYS = {
    'Resize': ('scale', 'wh'),
    'RandomResize': ('scale', 'wh'),
    'RandomCrop': ('crop_size', 'hw'),
    'RandomResizedCrop': ('scale', 'side'),
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
    places = (cfg.get(name) for name in ('test_dataloader', 'val_dataloader', 'test_pipeline', 'train_dataloader'))
    return next((size for place in places if place and (size := _last_size(place))), None)


def ssdlite_anchors(side: int) -> dict[str, list[int]]:
    """The anchors of SSDLite-MobileNetV2 for square images, scaled from those of mmdet's config for a side of 320.

    Returns:
        `strides`, `min_sizes` and `max_sizes` of its SSDAnchorGenerator. The maps have 1/16 to 1/512 of the side,
        rounded up, so a stride is the side divided by that of its map.
    """
    edges = [round(edge * side / 320) for edge in (48, 100, 150, 202, 253, 304, 320)]
    strides = [round(side / -(-side // 2**level)) for level in range(4, 10)]
    return dict(strides=strides, min_sizes=edges[:-1], max_sizes=edges[1:])


def _last_size(node: Any) -> tuple[int, int] | None:
    """(height, width) of the last transform of a data loader or pipeline that sets a size."""
    sizes = [size for item in transforms(node) if (size := _size(item))]
    return sizes[-1] if sizes else None


def transforms(node: Any) -> Iterator[dict]:
    """The transforms that have a size, in the order of the pipeline."""
    if isinstance(node, dict) and _type(node) in KEYS:
        yield node
    elif isinstance(node, dict | list | tuple):
        for item in node.values() if isinstance(node, dict) else node:
            yield from transforms(item)


def _size(node: dict) -> tuple[int, int] | None:
    key, form = KEYS[_type(node)]
    value = node.get(key)
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return (value[0], value[1]) if form == 'hw' else (value[1], value[0])
    return None


def _type(node: dict) -> str:
    return str(node.get('type', '')).rpartition('.')[2]
