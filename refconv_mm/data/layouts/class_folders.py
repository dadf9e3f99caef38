"""A layout of classification: a folder for each class."""

from __future__ import annotations

from pathlib import Path

from ...files.errors import DataError
from ..images import images_in
from .base import Layout, check_splits, names_masks, split_of

NAME = 'class folders'
NEEDS = 'SPLIT/CLASS with images'


def find(root: Path) -> str:
    """Says what makes a folder class folders; '' if nothing does."""
    return next((f'the folders {", ".join(names[:4])} of images' for _, names in _homes(root).values()), '')


def read(root: Path, out: Path) -> Layout:
    """Compares the folders of the splits, which must be the same."""
    homes = _homes(root)
    check_splits(homes, root)
    first, names = homes['train']
    for path, found in homes.values():
        if found != names:
            raise DataError(
                f'{path} and {first} have different classes: {", ".join(sorted(set(found) ^ set(names)))}; mmpretrain '
                'numbers the folders of each split, hidden ones too. Give both the same; an empty folder will do'
            )
    sets = {s: dict(type='CustomDataset', data_prefix=path.name, with_label=True) for s, (path, _) in homes.items()}
    return Layout(NAME, 'classification', root, names, sets)


def _homes(root: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """The folder of each split, with its folders as mmpretrain numbers them."""
    homes = {}
    for path in sorted(root.glob('*/'), reverse=True):
        names = sorted(each.name for each in path.iterdir() if each.is_dir())
        full = [name for name in names if images_in(path / name, True)]
        if (split := split_of(path.name)) and len(full) > 1 and not any(map(names_masks, full)):
            homes[split] = path, tuple(names)
    return homes
