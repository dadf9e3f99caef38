"""Layouts of segmentation: Cityscapes, and two folders, of images and of label maps."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from ...files.errors import DataError
from ...files.writing import write_whole
from ..images import image_size, images_in
from .base import Layout, leave_out_empty, lines_of, names_masks, split_of, with_val

NAME = 'masks'
NEEDS = 'folders images and masks (labels, gt, ...), whose names begin with those of the images; or Cityscapes'
IGNORE = 255
Pairs = list[tuple[str, Path, Path]]  # the name without its end, the image, the label map


def find(root: Path) -> dict[Path, Pairs]:
    """Each folder of images with their label maps, whose folder says so by its name."""
    if city := [path for path in sorted((root / 'leftImg8bit').glob('*/')) if (root / 'gtFine' / path.name).is_dir()]:
        return {path: [] for path in city if split_of(path.name)}
    files: dict[Path, list[Path]] = {}
    for path in images_in(root, True):
        files.setdefault(path.parent, []).append(path)
    names = {folder: folder.relative_to(root) for folder in files if folder != root and folder.name[0] != '.'}
    masks = [folder for folder, name in names.items() if names_masks(name)]
    found = {}
    for images in sorted(set(names) - set(masks)):
        allowed = split_of(names[images]), None
        fits = (_paired(files[images], files[each]) for each in masks if split_of(names[each]) in allowed)
        found[images] = next(filter(None, fits), [])
    return {images: pairs for images, pairs in found.items() if pairs}


def read(root: Path, out: Path, places: dict[Path, Pairs], mask_values: Sequence[int] | None = None) -> Layout:
    """Reads the numbers in the label maps; maps of other numbers or sizes than training needs are copied."""
    if not any(places.values()):
        classes = importlib.import_module('mmseg.datasets').CityscapesDataset.METAINFO['classes']
        layout = Layout('cityscapes', 'segmentation', root, tuple(classes))
        named = {str(split_of(images.name)): images.name for images in places}
        leave_out_empty(named, layout.said, lambda name: _is_ignored(root / 'gtFine' / name))
        if 'train' not in named or len(named) < 2:
            raise DataError(f'{root}/leftImg8bit needs the splits train and val, with labels; it has {list(named)}')
        for split, name in named.items():
            prefix = dict(img_path=f'leftImg8bit/{name}', seg_map_path=f'gtFine/{name}')
            layout.sets[split] = dict(type='CityscapesDataset', data_prefix=prefix)
        return layout
    layout = Layout(NAME, 'segmentation', root, ())
    own: dict[str, Pairs] = {}
    for images, pairs in places.items():
        if own.setdefault(split_of(images.relative_to(root)) or 'train', pairs) is not pairs:
            raise DataError(f'{root} has several folders of images for one split, such as {images}; join them')
        if left := len(images_in(images)) - len(pairs):
            layout.said.append(f'{left} images of {images} are left out: most end with {pairs[0][1].suffix}')
    parts = with_val(own, layout.said, root)
    layout.classes = _classes(root, [mask for _, _, mask in parts['train']], mask_values)
    for split, pairs in sorted(parts.items()):
        stem, image, mask = pairs[0]
        prefix = dict(img_path=str(image.parent.relative_to(root)), seg_map_path=str(mask.parent.relative_to(root)))
        ends = dict(img_suffix=image.name.removeprefix(stem), seg_map_suffix=mask.name.removeprefix(stem))
        sizes = {mask: (image_size(image), image_size(mask)) for _, image, mask in pairs}
        odd = {mask: (one, two) for mask, (one, two) in sizes.items() if one and two and one != two}
        if wrong := [mask for mask, (one, two) in odd.items() if abs(one[0] * two[1] / (one[1] * two[0]) - 1) > 0.02]:
            raise DataError(f'{len(wrong)} label maps, such as {wrong[0]}, have another shape than their image')
        if odd or mask_values:
            layout.files[f'label_maps/{split}'] = _copies(pairs, mask_values)
            prefix['seg_map_path'], ends['seg_map_suffix'] = str(out / f'label_maps/{split}'), '.png'
            layout.said.append(f'label_maps/{split} has copies; {len(odd)} had another size than their image')
        layout.sets[split] = dict(type='BaseSegDataset', data_prefix=prefix, **ends)
        if parts is not own:
            layout.files[f'{split}.txt'] = ''.join(f'{stem}\n' for stem, _, _ in pairs)
            layout.sets[split]['ann_file'] = str(out / f'{split}.txt')
    return layout


def _is_ignored(folder: Path) -> bool:
    """Whether the first label maps of a split say "no label" everywhere, as those of Cityscapes' own test split."""
    return all((_read(path, None) == IGNORE).all() for path in sorted(folder.glob('*/*labelTrainIds.png'))[:9])


def _paired(images: list[Path], masks: list[Path]) -> Pairs:
    """The images of the commonest suffix with their label maps, as `1_mask.png` for `1.jpg`; [] if most have none."""
    suffix = Counter(path.suffix for path in images).most_common(1)[0][0]
    stems = {path.name.removesuffix(suffix): path for path in images if path.suffix == suffix}
    some = list(stems)[:50]
    ends = Counter(path.name[len(stem) :] for stem in some for path in masks if path.name.startswith(stem))
    best = max(ends, key=lambda end: (ends[end], -len(end)), default='')
    fits = 2 * ends[best] > len(some)
    return [(stem, path, masks[0].parent / f'{stem}{best}') for stem, path in stems.items()] if fits else []


def _classes(root: Path, masks: list[Path], values: Sequence[int] | None) -> tuple[str, ...]:
    """The lines of `classes.txt`, or as many classes as the label maps have numbers."""
    numbers: set[int] = set()
    for path in masks:
        with suppress(OSError, SyntaxError):  # check-data tells the file
            numbers |= set(np.unique(_read(path, values)).tolist())
    found, known, lines = sorted(numbers)[:8], numbers - {IGNORE}, lines_of(root / 'classes.txt')
    if values and (absent := set(values) - numbers):
        raise DataError(f'--mask-values: no label map of {root} has {sorted(absent)}; they have {found}')
    if not values and (len(known) < 2 or max(known) >= 4 * (len(lines) or len(known))):
        raise DataError(
            f'the label maps of {root} hold only {found}, which are no class numbers, and {IGNORE} means "no label". '
            f'--mask-values {" ".join(map(str, found))} maps them to the classes 0, 1 and so on'
        )
    return tuple(lines or [f'class_{i}' for i in range(len(values) if values else max(known) + 1)])


def _read(path: Path, values: Sequence[int] | None) -> np.ndarray:
    """The numbers in a label map; grey values of colours, and numbers that JPEG changed, only with `values`."""
    with Image.open(path) as picture:
        one = len(picture.getbands()) == 1
        if values or (one and picture.format != 'JPEG'):
            return np.asarray(picture if one else picture.convert('L'))
        kind = f'{picture.format} in {picture.mode}'
    raise DataError(f'{path} is {kind}, no exact class numbers; --mask-values N ... takes the nearest grey values')


def _copies(pairs: Pairs, values: Sequence[int] | None) -> Callable[[Path], None]:
    """A function that writes label maps of class numbers in the size of the images; other numbers are "no label"."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, image, mask in pairs:
            try:
                numbers = _read(mask, values)
            except (OSError, SyntaxError):  # check-data tells the file
                continue
            if values:  # of JPEG, which changes numbers, the nearest
                far = np.abs(numbers[..., None].astype(np.int32) - np.array(values, np.int32))
                known = (far.min(-1) == 0) | mask.suffix.lower().startswith('.jp')
                numbers = np.where(known, far.argmin(-1), IGNORE)
            copy = Image.fromarray(numbers.astype(np.uint8))
            copy = copy.resize(image_size(image) or copy.size, Image.Resampling.NEAREST)
            write_whole(folder / f'{stem}.png', copy.save)

    return write
