"""A layout of classification: a folder for each class."""

from __future__ import annotations

import re
from pathlib import Path

from ...files.errors import DataError
from .base import Layout, images_in, names_masks, split_of, with_val

NAME = 'class folders'
NEEDS = 'SPLIT/CLASS with images, or CLASS with images'
# Folders of these names hold the images of other layouts, and so do those of label maps.
IMAGES = re.compile('im(a?ge?)?s?|jpegimages|photos?|img_dir|leftimg8bit')


def find(root: Path) -> str:
    """Says what makes a folder class folders; '' if nothing does."""
    return next((f'the folders {", ".join(names[:4])} of images' for _, names in _homes(root).values()), '')


def read(root: Path, out: Path) -> Layout:
    """Compares the folders of the splits.

    Raises:
        DataError: the splits have different folders, or a hidden folder would become a class.
    """
    homes = _homes(root)
    first, names = homes['train']
    hidden = [path / name for path, found in homes.values() for name in found if name.startswith('.')]
    if hidden:
        raise DataError(f'mmpretrain would take {hidden[0]} for a class; delete this folder')
    for path, found in homes.values():
        if found != names:
            raise DataError(
                f'{path} and {first} have different classes: {", ".join(sorted(set(found) ^ set(names)))}; mmpretrain '
                'numbers the folders of each split by itself. Give both the same folders; an empty folder will do'
            )
    layout = Layout(NAME, 'classification', root, names, {})
    for split, (path, _) in homes.items():
        layout.sets[split] = dict(type='CustomDataset', data_prefix=path.name, with_label=True)
    if set(homes) == {'train'}:
        items = [
            (str(path.relative_to(first)), i) for i, name in enumerate(names) for path in images_in(first / name, True)
        ]
        for split, part in with_val({'train': items}, layout.said, root).items():
            layout.files[f'{split}.txt'] = ''.join(f'{path} {label}\n' for path, label in part)
            prefix = str(first.relative_to(root)).removeprefix('.')
            layout.sets[split] = dict(
                type='CustomDataset', ann_file=str(out / f'{split}.txt'), data_prefix=prefix, with_label=True
            )
    return layout


def _homes(root: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """The folder of each split, with its folders; all images train if there are no splits."""
    splits = {
        split: (path, names)
        for path in sorted(root.iterdir(), reverse=True)
        if path.is_dir() and (split := split_of(path.name)) and (names := _classes(path))
    }
    if splits:
        return splits if 'train' in splits else {}
    return {'train': (root, names)} if (names := _classes(root)) else {}


def _classes(folder: Path) -> tuple[str, ...]:
    """The folders of a folder as mmpretrain numbers them; none unless two of them hold images of classes."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    full = [name for name in names if images_in(folder / name, True)]
    others = [name for name in full if names_masks(name) or IMAGES.fullmatch(name.lower())]
    splits = sum(bool(split_of(name)) for name in full)  # one may be a class: train, beside plane and car
    return tuple(names) if len(full) > 1 and splits < 2 and not others else ()
