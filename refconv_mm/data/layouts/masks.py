"""Layouts of segmentation: Cityscapes, and folders of images and of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .base import IMAGES, Layout, Record, images_in, split_folders

IGNORE = 255
CITYSCAPES = (
    *('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign', 'vegetation'),
    *('terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'),
)
IMAGE_FOLDERS = ('images', 'img_dir', 'imgs', 'image', 'JPEGImages')
# What the name of a mask has after that of its image.
ENDS = ('', '_mask', '_label', '_labels', '_seg', '_gt')
MASK_FOLDERS = ('masks', 'ann_dir', 'labels', 'annotations', 'mask', 'SegmentationClass')


class Cityscapes(Layout):
    """`leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` and `gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png`."""

    name = 'cityscapes'
    task = 'segmentation'
    looks_for = 'leftImg8bit/SPLIT and gtFine/SPLIT'

    @classmethod
    def find(cls, root: Path) -> Cityscapes | None:
        images, masks = root / 'leftImg8bit', root / 'gtFine'
        if not images.is_dir() or not masks.is_dir():
            return None
        sets = {
            split: dict(
                type='CityscapesDataset',
                data_prefix=dict(img_path=f'leftImg8bit/{path.name}', seg_map_path=f'gtFine/{path.name}'),
            )
            for split, path in split_folders(images).items()
            if (masks / path.name).is_dir()
        }
        return cls(root, CITYSCAPES, sets)

    def records(self, split: str) -> Iterator[Record]:
        prefix = self.sets[split]['data_prefix']
        suffixes = '_leftImg8bit.png', '_gtFine_labelTrainIds.png'
        yield from mask_records(self.root / prefix['img_path'], self.root / prefix['seg_map_path'], *suffixes)


class Masks(Layout):
    """A folder of images and one of masks of the same names; each pixel of a mask is a class number, or 255."""

    name = 'masks'
    task = 'segmentation'
    looks_for = 'images/SPLIT and masks/SPLIT (or SPLIT/images and SPLIT/masks)'

    @classmethod
    def find(cls, root: Path) -> Masks | None:
        pairs = _pairs(root)
        if not pairs or not any(images_in(masks, True) for _, masks in pairs.values()):
            return None
        sets = {split: _set(root, *pair) for split, pair in pairs.items()}
        return cls(root, _classes(root, cls(root, (), sets)), sets)

    def records(self, split: str) -> Iterator[Record]:
        found = self.sets[split]
        images, masks = (self.root / found['data_prefix'][key] for key in ('img_path', 'seg_map_path'))
        yield from mask_records(images, masks, found['img_suffix'], found['seg_map_suffix'])


def mask_records(images: Path, masks: Path, img_suffix: str, seg_map_suffix: str) -> Iterator[Record]:
    """Pairs images and masks; a mask without an image is a fault, and so is an image of another suffix."""
    left = {str(path) for path in images_in(masks, True) if path.name.endswith(seg_map_suffix)}
    for path in images_in(images, True):
        if not path.name.endswith(img_suffix):
            fault = ('image of another suffix', f'it would be left out: the others end with {img_suffix}')
            yield Record('', str(path), faults=(fault,))
            continue
        mask = str(masks / str(path.relative_to(images)).removesuffix(img_suffix)) + seg_map_suffix
        left.discard(mask)
        yield Record(str(path), mask, mask=mask)
    for mask in sorted(left):
        yield Record('', mask, faults=(('label map without an image', ''),))


def _pairs(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of images and masks by split; all images are `train` if the folder has no splits."""
    pair = _pair(root)
    if pair is None:
        found = {split: _pair(path) for split, path in split_folders(root).items()}
        return {split: pair for split, pair in found.items() if pair}
    images, masks = pair
    splits = {split: path.name for split, path in split_folders(images).items() if (masks / path.name).is_dir()}
    return {split: (images / name, masks / name) for split, name in splits.items()} or {'train': pair}


def _pair(folder: Path) -> tuple[Path, Path] | None:
    images = next((path for name in IMAGE_FOLDERS if (path := folder / name).is_dir()), None)
    masks = next((path for name in MASK_FOLDERS if (path := folder / name).is_dir()), None)
    return (images, masks) if images and masks else None


def _set(root: Path, images: Path, masks: Path) -> dict[str, Any]:
    counts = Counter(path.suffix for path in images_in(images, True))
    if not counts:
        raise ValueError(f'{images} has no images ({", ".join(IMAGES)})')
    suffix = counts.most_common(1)[0][0]
    stems = [path.stem for path in images_in(images, True) if path.suffix == suffix]
    found = {path.stem: path.suffix for path in images_in(masks, True)}
    end = next((end for stem in stems for end in ENDS if stem + end in found), None)
    if end is None:
        raise ValueError(f'{masks} has no mask of {stems[0]}{suffix}, such as {stems[0]}.png or {stems[0]}_mask.png')
    return dict(
        type='BaseSegDataset',
        img_suffix=suffix,
        seg_map_suffix=end + next(found[stem + end] for stem in stems if stem + end in found),
        data_prefix=dict(img_path=str(images.relative_to(root)), seg_map_path=str(masks.relative_to(root))),
    )


def _classes(root: Path, layout: Masks) -> tuple[str, ...]:
    """The lines of `classes.txt`, or as many classes as the masks of the train split have numbers."""
    listed = root / 'classes.txt'
    if listed.is_file():
        return tuple(line.strip() for line in listed.read_text().splitlines() if line.strip())
    numbers: set[int] = set()
    for record in layout.records('train' if 'train' in layout.sets else layout.splits[0]):
        if record.mask and Path(record.mask).is_file():
            with Image.open(record.mask) as picture:
                if picture.mode not in ('L', 'P', 'I', 'I;16', '1'):
                    raise ValueError(
                        f'{record.mask} is a picture in {picture.mode}; a mask holds one number a pixel, its class'
                    )
                numbers |= set(np.unique(np.asarray(picture)).tolist())
    if numbers <= {0, IGNORE}:
        raise ValueError(
            f'the masks of {root} hold only {sorted(numbers)}; {IGNORE} means "no label", so one class is left. Write '
            'the second class as 1 (docs/data.md shows how), or name the classes in classes.txt'
        )
    return tuple(f'class_{i}' for i in range(max(numbers - {IGNORE}) + 1))
