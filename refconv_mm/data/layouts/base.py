"""What all layouts have in common: a layout, the names of splits, and COCO's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files.errors import DataError
from ..images import IMAGES, images_in

__all__ = ['IMAGES', 'Layout', 'coco_text', 'images_in', 'names_masks', 'split_of', 'with_val']

WORDS = {'train': ('train', 'training', 'trainval'), 'val': ('val', 'valid', 'validation'), 'test': ('test', 'testing')}
MASKS = re.compile('(^|[^a-z])(masks?|labels?|annot|anns?|gt|ground|truth|seg|target)')


@dataclass
class Layout:
    """A folder of data whose layout is known.

    Attributes:
        name: of the layout.
        task: `'detection'`, `'segmentation'` or `'classification'`.
        root: the folder.
        classes: in the order of the labels.
        sets: what distinguishes each split's data set config, by `'train'`, `'val'` and `'test'`.
        files: what the folder of the configs gets: the text of a file, or a function that writes a folder.
        said: what the user must know.
    """

    name: str
    task: str
    root: Path
    classes: tuple[str, ...]
    sets: dict[str, dict[str, Any]]
    files: dict[str, str | Callable[[Path], None]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of `'train'`, `'val'` and `'test'` that there are."""
        return tuple(split for split in WORDS if split in self.sets)

    def dataset(self, split: str) -> dict[str, Any]:
        """The config of a split's data set, without a pipeline; val and test stand for each other if one is missing."""
        found = self.sets.get(split) or self.sets[{'val': 'test', 'test': 'val'}[split]]
        config = dict(data_root=f'{self.root}/', metainfo=dict(classes=self.classes), **found)
        if split != 'train':
            config['test_mode'] = True
        elif self.task == 'detection':
            # Boxes of no size would turn the loss into NaN; an image without a box trains nothing.
            config['filter_cfg'] = dict(filter_empty_gt=True, min_size=32, bbox_min_size=1)
        return config


def split_of(path: Path | str) -> str | None:
    """The split that a word of a name, or of a relative path, stands for."""
    words = re.split('[^a-z]+', str(path).lower())
    return next((split for split, known in WORDS.items() if any(word in known for word in words)), None)


def names_masks(path: Path | str) -> bool:
    """Whether a name, or a part of a relative path, says label maps: masks, Ground_Truth, gtFine and so on."""
    return bool(MASKS.search(re.sub('([a-z])([A-Z])', r'\1_\2', str(path)).lower()))


def with_val(parts: dict[str, list], said: list[str], root: Path) -> dict[str, list]:
    """Makes every fifth image of the training the val split, if there is no other to validate with.

    Raises:
        DataError: there is no train split, or a split without an image.
    """
    if empty := [split for split in ('train', *parts) if not parts.get(split)]:
        raise DataError(f'{root} has no image with annotations for the split {empty[0]}')
    items = sorted(parts['train'])
    if set(parts) != {'train'} or len(items) < 5:
        if len(parts) == 1:
            raise DataError(f'{root} has no val split, and {len(items)} images are too few to take one from')
        return parts
    said.append('there is no val split: every fifth image, in the order of the names, validates and does not train')
    return {'train': [item for i, item in enumerate(items) if i % 5 != 4], 'val': items[4::5]}


def coco_text(images: Sequence[tuple[str, int, int, list[tuple[int, Sequence[float]]]]], classes: Sequence[str]) -> str:
    """Writes boxes as COCO's JSON.

    Args:
        images: file name, width, height, and the boxes: class number, and corners in pixels from 0.
        classes: their names.
    """
    rows = [dict(id=i, file_name=name, width=width, height=height) for i, (name, width, height, _) in enumerate(images)]
    boxes = [
        (i, label, box, box[2] - box[0], box[3] - box[1]) for i, image in enumerate(images) for label, box in image[3]
    ]
    notes = [
        dict(id=n, image_id=i, category_id=label, bbox=[box[0], box[1], w, h], area=w * h, iscrowd=0)
        for n, (i, label, box, w, h) in enumerate(boxes, 1)
    ]
    categories = [dict(id=i, name=name) for i, name in enumerate(classes)]
    return json.dumps(dict(images=rows, annotations=notes, categories=categories))
