"""A layout of classification: a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .base import Layout, Record, images_in, split_folders


class ClassFolders(Layout):
    """`train/CLASS/*.jpg` and `val/CLASS/*.jpg`."""

    name = 'class folders'
    task = 'classification'
    looks_for = 'SPLIT/CLASS with images'

    @classmethod
    def find(cls, root: Path) -> ClassFolders | None:
        splits = split_folders(root)
        if not splits:
            if not all(images_in(path) for path in root.iterdir() if path.is_dir()):
                return None  # some folder with images somewhere in it
            splits = {'train': root}
        classes = _classes(splits.get('train', root))
        if len(classes) < 2:
            return None
        sets = {}
        for split, path in splits.items():
            if found := _classes(path):
                if found != classes:
                    differ = sorted(set(found) ^ set(classes))
                    raise ValueError(
                        f'{path} and {splits["train"]} have different classes: {", ".join(differ)}; mmpretrain numbers '
                        'the folders of each split by itself. Give both the same folders; an empty folder will do'
                    )
                prefix = '' if path == root else path.name
                sets[split] = dict(type='CustomDataset', data_prefix=prefix, with_label=True)
        return cls(root, classes, sets)

    def records(self, split: str) -> Iterator[Record]:
        folder = self.root / self.sets[split]['data_prefix']
        for name in self.classes:
            for path in images_in(folder / name, True):
                yield Record(str(path), str(folder / name), label=name)


def _classes(folder: Path) -> tuple[str, ...]:
    """The folders of a folder, or nothing if none has images; mmpretrain numbers them in this order."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return tuple(names) if any(images_in(folder / name, True) for name in names) else ()
