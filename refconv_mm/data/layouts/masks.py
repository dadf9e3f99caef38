"""Layouts of segmentation: Cityscapes, and two folders, of images and of label maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...files.errors import DataError
from ..images import why_unreadable
from .base import Layout, images_in, names_masks, split_of, with_val

NAME = 'masks'
NEEDS = 'a folder of images and one of label maps whose names begin with those of the images, or Cityscapes'
IGNORE = 255
CITYSCAPES = (
    *('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign', 'vegetation'),
    *('terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'),
)


def find(root: Path) -> str:
    """Says what makes a folder masks; '' if nothing does."""
    pairs = list(_cityscapes(root).values()) or _pairs(root)
    return next((f'{a.relative_to(root)}/ with the label maps {b.relative_to(root)}/' for a, b in pairs), '')


def read(root: Path, out: Path, values: Sequence[int] | None = None) -> Layout:
    """Reads the numbers in the label maps of the train split.

    Args:
        values: the numbers of class 0, 1 and so on; label maps with the class numbers are written then.

    Raises:
        DataError: something that a training needs is wrong or missing.
    """
    if city := _cityscapes(root):
        prefixes = {
            s: dict(img_path=str(a.relative_to(root)), seg_map_path=str(b.relative_to(root)))
            for s, (a, b) in city.items()
        }
        sets: dict[str, Any] = {s: dict(type='CityscapesDataset', data_prefix=prefix) for s, prefix in prefixes.items()}
        return Layout('cityscapes', 'segmentation', root, CITYSCAPES, sets)
    pairs: dict[str, tuple[Path, Path]] = {}
    for images, masks in _pairs(root):
        split = split_of(images.relative_to(root)) or 'train'
        if split in pairs:
            raise DataError(f'{root} has two folders of images for {split}: {pairs[split][0]} and {images}; join them')
        pairs[split] = images, masks
    own = {split: _stems(images) for split, (images, _) in pairs.items()}
    layout = Layout(NAME, 'segmentation', root, (), {})
    parts = with_val(own, layout.said, root)
    for split, stems in parts.items():
        images, masks = pairs[split if parts is own else 'train']
        suffix, end, folder = _suffix(images), _end(images, masks) or '.png', str(masks.relative_to(root))
        if split == 'train':
            layout.classes = _classes(root, [masks / f'{stem}{end}' for stem in stems], values)
        if values:
            folder = str(out / f'label_maps/{split}')
            written = [(masks / f'{stem}{end}', f'{stem}.png') for stem in stems]
            layout.files[f'label_maps/{split}'], end = _mapped(written, values), '.png'
        prefix = dict(img_path=str(images.relative_to(root)), seg_map_path=folder)
        layout.sets[split] = dict(type='BaseSegDataset', img_suffix=suffix, seg_map_suffix=end, data_prefix=prefix)
        if parts is not own:
            layout.files[f'{split}.txt'] = ''.join(f'{stem}\n' for stem in stems)
            layout.sets[split]['ann_file'] = str(out / f'{split}.txt')
    return layout


def _cityscapes(root: Path) -> dict[str, tuple[Path, Path]]:
    folders = {path: root / 'gtFine' / path.name for path in sorted((root / 'leftImg8bit').glob('*/'))}
    return {split: (a, b) for a, b in folders.items() if b.is_dir() and (split := split_of(a.name))}


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    """Folders of images, each with that of its label maps: by their names, or else by few numbers without colours."""
    folders = sorted({path.parent for path in images_in(root, True)} - {root})
    masks = [folder for folder in folders if names_masks(folder.relative_to(root))]
    masks = masks or [folder for folder in folders if _numbered(folder)]
    pairs = []
    for images in (folder for folder in folders if folder not in masks):
        split = split_of(images.relative_to(root))
        fits = [
            each
            for each in masks
            if split_of(each.relative_to(root)) in (split, None) and _end(images, each) is not None
        ]
        pairs += [(images, each) for each in fits[:1]]
    return pairs


def _numbered(folder: Path) -> bool:
    pixels = [np.asarray(Image.open(path)) for path in images_in(folder)[:3] if not why_unreadable(path)]
    return bool(pixels) and all(each.ndim == 2 and len(np.unique(each)) <= 64 for each in pixels)


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
    known, listed = numbers - {IGNORE}, root / 'classes.txt'
    hint = f'--mask-values {" ".join(map(str, sorted(numbers)[:8]))} maps these numbers to the classes 0, 1 and so on'
    if values and (lost := sorted(known - set(values))):
        raise DataError(f'the label maps of {root} hold {lost[:8]} beside --mask-values')
    if not values and len(known) < 2:
        raise DataError(f'the label maps of {root} hold only {sorted(numbers)}; {IGNORE} means "no label". {hint}')
    lines = [line.strip() for line in listed.read_text().splitlines() if line.strip()] if listed.is_file() else []
    if not lines and not values and max(known) >= 4 * len(known):
        raise DataError(f'the label maps of {root} hold {sorted(numbers)[:8]}, with gaps. {hint}')
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
