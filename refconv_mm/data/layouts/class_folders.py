"""A layout of classification: a folder for each class."""

from __future__ import annotations

from pathlib import Path

from ...files.errors import DataError
from ..images import images_in
from .base import Layout, names_masks, split_of, with_val

NAME = 'class folders'
NEEDS = 'SPLIT/CLASS with images'


def find(root: Path) -> dict[Path, dict[str, list[Path]]]:
    """The folder of each split, with the images of its classes; mmpretrain takes hidden and empty folders, too."""
    found = {}
    for path in sorted(path for path in root.glob('*/') if split_of(path.name)):
        folders = sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith('.'))
        classes = {folder.name: images for folder in folders if (images := images_in(folder, True))}
        if classes and 2 * sum(map(names_masks, classes)) != len(classes):  # not a folder of images, one of label maps
            found[path] = classes
    return found if any(split_of(path.name) == 'train' and len(found[path]) > 1 for path in found) else {}


def read(root: Path, out: Path, places: dict[Path, dict[str, list[Path]]]) -> Layout:
    """Numbers the classes as train has them; a split that mmpretrain would read otherwise gets a list."""
    homes = {str(split_of(path.name)): path for path in places}
    if len(homes) < len(places):
        raise DataError(f'{root} has several folders for one split among {sorted(each.name for each in places)}')
    own = {s: [(image, name) for name, images in places[home].items() for image in images] for s, home in homes.items()}
    layout = Layout(NAME, 'classification', root, tuple(places[homes['train']]))
    parts = with_val(own, layout.said, root)
    for split, items in parts.items():
        home = homes.get(split, homes['train'])
        if unknown := sorted({name for _, name in items} - set(layout.classes)):
            raise DataError(f'{home} has the classes {", ".join(unknown)}, which {homes["train"]} has not')
        layout.sets[split] = dict(type='CustomDataset', data_prefix=home.name, with_label=True)
        unread = any(image.suffix.lower() in ('.webp', '.tiff') for image, _ in items)  # by mmpretrain, without a list
        folders = {each.name for each in home.iterdir() if each.is_dir()}
        if parts is not own or unread or folders != set(layout.classes):
            lines = [f'{image.relative_to(home)} {layout.classes.index(name)}\n' for image, name in items]
            layout.files[f'{split}.txt'] = ''.join(lines)
            layout.sets[split]['ann_file'] = str(out / f'{split}.txt')
    return layout
