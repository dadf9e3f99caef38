"""Layouts of segmentation: Cityscapes, and two folders, of images and of label maps."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...files.errors import DataError
from ..images import images_in
from .base import Layout, check_splits, lines_of, names_masks, split_of

NAME = 'masks'
NEEDS = 'a folder of images and one of label maps whose names begin with those of the images, or Cityscapes'
IGNORE = 255


def find(root: Path) -> str:
    """Says what makes a folder masks; '' if nothing does."""
    pairs = list(_cityscapes(root).values()) or _pairs(root)
    return next((f'{a.relative_to(root)}/ with the label maps {b.relative_to(root)}/' for a, b in pairs), '')


def read(root: Path, out: Path, mask_values: Sequence[int] | None = None) -> Layout:
    """Reads the numbers in the label maps of the train split; with `mask_values`, maps of class numbers are written."""
    if city := _cityscapes(root):
        cityscapes = importlib.import_module('mmseg.datasets').CityscapesDataset
        layout = Layout('cityscapes', 'segmentation', root, tuple(cityscapes.METAINFO['classes']))
        for split, (images, masks) in city.items():
            prefix = dict(img_path=str(images.relative_to(root)), seg_map_path=str(masks.relative_to(root)))
            layout.sets[split] = dict(type='CityscapesDataset', data_prefix=prefix)
        return layout
    pairs: dict[str, tuple[Path, Path]] = {}
    for images, masks in _pairs(root):
        split = split_of(images.relative_to(root)) or 'train'
        if split in pairs:
            raise DataError(f'{root} has two folders of images for {split}: {pairs[split][0]} and {images}; join them')
        pairs[split] = images, masks
    check_splits({split: _stems(images) for split, (images, _) in pairs.items()}, root)
    layout = Layout(NAME, 'segmentation', root, ())
    for split, (images, masks) in sorted(pairs.items()):
        stems, end, folder = _stems(images), _end(images, masks) or '.png', str(masks.relative_to(root))
        if split == 'train':
            layout.classes = _classes(root, [masks / f'{stem}{end}' for stem in stems], mask_values)
        if mask_values:
            folder = str(out / f'label_maps/{split}')
            written = [(masks / f'{stem}{end}', f'{stem}.png') for stem in stems]
            layout.files[f'label_maps/{split}'], end = _mapped(written, mask_values), '.png'
        prefix, suffix = dict(img_path=str(images.relative_to(root)), seg_map_path=folder), _suffix(images)
        layout.sets[split] = dict(type='BaseSegDataset', img_suffix=suffix, seg_map_suffix=end, data_prefix=prefix)
    return layout


def _cityscapes(root: Path) -> dict[str, tuple[Path, Path]]:
    folders = {path: root / 'gtFine' / path.name for path in sorted((root / 'leftImg8bit').glob('*/'))}
    return {split: (a, b) for a, b in folders.items() if b.is_dir() and (split := split_of(a.name))}


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    """Folders of images, each with that of its label maps, which is known by its name."""
    folders = {path.parent: path.parent.relative_to(root) for path in images_in(root, True) if path.parent != root}
    masks = [folder for folder, name in sorted(folders.items()) if names_masks(name)]
    pairs = []
    for images in sorted(set(folders) - set(masks)):
        allowed = split_of(folders[images]), None
        fits = [each for each in masks if split_of(folders[each]) in allowed and _end(images, each) is not None]
        pairs += [(images, each) for each in fits[:1]]
    return pairs


def _suffix(images: Path) -> str:
    return Counter(path.suffix for path in images_in(images)).most_common(1)[0][0]


def _stems(images: Path) -> list[str]:
    suffix = _suffix(images)
    return [path.name.removesuffix(suffix) for path in images_in(images) if path.suffix == suffix]


def _end(images: Path, masks: Path) -> str | None:
    """What the names of label maps have after those of the images, such as `_mask.png`; None if they do not fit."""
    stems, names = _stems(images)[:50], [path.name for path in images_in(masks)]
    ends = Counter(name[len(stem) :] for stem in stems for name in names if name.startswith(stem))
    best = max(ends, key=lambda end: (ends[end], -len(end)), default=None)
    return best if best is not None and 2 * ends[best] > len(stems) else None


def _classes(root: Path, masks: list[Path], values: Sequence[int] | None) -> tuple[str, ...]:
    """The lines of `classes.txt`, or as many classes as the label maps have numbers."""
    numbers: set[int] = set()
    for path in filter(Path.is_file, masks):
        try:
            with Image.open(path) as picture:
                if len(picture.getbands()) > 1:
                    raise DataError(f'{path} is a picture in {picture.mode}; a label map holds one number a pixel')
                numbers |= set(np.unique(np.asarray(picture)).tolist())
        except (OSError, SyntaxError):  # check-data tells the file
            continue
    known, lines = numbers - {IGNORE}, lines_of(root / 'classes.txt')
    if not values and (len(known) < 2 or (not lines and max(known) >= 4 * len(known))):
        found = sorted(numbers)[:8]
        raise DataError(
            f'the label maps of {root} hold only {found}, which are no class numbers, and {IGNORE} means "no label". '
            f'--mask-values {" ".join(map(str, found))} maps them to the classes 0, 1 and so on'
        )
    return tuple(lines or [f'class_{i}' for i in range(len(values) if values else max(known) + 1)])


def _mapped(paths: list[tuple[Path, str]], values: Sequence[int]) -> Callable[[Path], None]:
    """A function that writes label maps with class numbers into a folder; other numbers become "no label"."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(values)] = np.arange(len(values))

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path, name in paths:
            with Image.open(path) as picture:
                Image.fromarray(table[np.asarray(picture.convert('L'))]).save(folder / name)

    return write
