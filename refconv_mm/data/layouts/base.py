"""What all layouts have in common: a layout, and the records that its reader gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
# Folders and lists of a split are often called otherwise.
SPLITS = {
    'train': ('train', 'training', 'trainval', 'train2017'),
    'val': ('val', 'valid', 'validation', 'val2017'),
    'test': ('test', 'testing', 'test2017'),
}


@dataclass(frozen=True)
class Box:
    """A box as its file has it, right or wrong.

    Attributes:
        label: the class by name; what the file says if that is no class of the data.
        corners: `(x1, y1, x2, y2)` in pixels from 0.
        where: its place in the file, such as `'line 3'`.
    """

    label: str
    corners: tuple[float, float, float, float]
    where: str


@dataclass(frozen=True)
class Record:
    """An image with its annotation.

    Attributes:
        image: path of the image; `''` if the faults belong to no image.
        where: path of the annotation, for messages.
        boxes: in detection; None elsewhere.
        mask: path of the label map, in segmentation.
        label: the class by name, in classification.
        size: the image's (width, height), if the annotation says it.
        faults: what the reader could not read, as `(kind, details)`.
    """

    image: str
    where: str
    boxes: tuple[Box, ...] | None = None
    mask: str | None = None
    label: str | None = None
    size: tuple[int, int] | None = None
    faults: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Layout:
    """A folder of data whose layout is known; subclasses are the layouts.

    Attributes:
        name: of the layout.
        task: `'detection'`, `'segmentation'` or `'classification'`.
        root: the folder.
        classes: in the order of the class numbers.
        sets: what distinguishes each split's data set config, by `'train'`, `'val'` and `'test'`.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    looks_for: ClassVar[str]

    root: Path
    classes: tuple[str, ...]
    sets: dict[str, dict[str, Any]]

    @classmethod
    def find(cls, root: Path) -> Layout | None:
        """The layout of a folder, or None if it is not this one.

        Raises:
            ValueError: it is this one, and something that a training needs is wrong or missing.
        """
        raise NotImplementedError

    def records(self, split: str) -> Iterator[Record]:
        """Reads the images of a split with their annotations; faults are told, not raised."""
        raise NotImplementedError

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of `'train'`, `'val'` and `'test'` that the folder has."""
        return tuple(self.sets)

    @property
    def images(self) -> dict[str, int]:
        """The number of images by split."""
        return {split: sum(bool(record.image) for record in self.records(split)) for split in self.sets}

    def dataset(self, split: str) -> dict[str, Any]:
        """The config of a split's data set, without a pipeline.

        A missing test split is the val split, and a missing val split the test split. If both are missing, every fifth
        image of the train split is the val split; not in detection, where mmdet leaves images out before it counts.

        Raises:
            ValueError: the folder has no such split.
        """
        other = {'val': 'test', 'test': 'val'}.get(split, split)
        found = self.sets.get(split) or self.sets.get(other)
        if set(self.sets) == {'train'} and self.task != 'detection':
            chosen = [i for i in range(self.images['train']) if (i % 5 == 4) == (split != 'train')]
            found = dict(self.sets['train'], indices=chosen)
        if found is None:
            raise ValueError(
                f'{self.root} ({self.name} layout) has no {split} split, only {", ".join(self.sets)}; both train and '
                f'val are needed: {self.looks_for}'
            )
        config = dict(data_root=f'{self.root}/', metainfo=dict(classes=self.classes), **found)
        if split != 'train':
            config['test_mode'] = True
        elif self.task == 'detection':
            # Boxes of no size would turn the loss into NaN; an image without a box trains nothing.
            config['filter_cfg'] = dict(filter_empty_gt=True, min_size=32, bbox_min_size=1)
        return config


def split_of(name: str) -> str | None:
    """The split that a folder or file name stands for."""
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def split_folders(folder: Path) -> dict[str, Path]:
    """The folders of splits directly inside a folder; trainval gives way to train."""
    found: dict[str, Path] = {}
    for split, names in SPLITS.items():
        for name in names:
            path = folder / name
            if path.is_dir():
                found.setdefault(split, path)
    return found


def images_in(folder: Path, deep: bool = False) -> list[Path]:
    """The images of a folder, sorted."""
    return sorted(path for path in (folder.rglob('*') if deep else folder.glob('*')) if path.suffix.lower() in IMAGES)


def loaded_size(path: str | Path) -> tuple[int, int] | None:
    """The (width, height) with which mmcv loads an image, so after a rotation by EXIF; None if it cannot be read."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) >= 5
            return (height, width) if turned else (width, height)
    except (OSError, SyntaxError, ValueError):
        return None
