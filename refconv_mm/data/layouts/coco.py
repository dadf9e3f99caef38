"""The COCO layout: a JSON file of boxes for each split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...files.errors import DataError
from ..loading import reason
from .base import Layout, check_splits, split_of

NAME = 'coco'
NEEDS = "JSON files with 'images' and 'categories', the split in their names or folders, and the images"


def find(root: Path) -> str:
    """Says what makes a folder COCO; '' if nothing does."""
    return next((f'{path.relative_to(root)} with images and categories' for path in _files(root)), '')


def read(root: Path, out: Path) -> Layout:
    """Reads the categories, and finds the images."""
    files: dict[str, Path] = {}
    for path in _files(root):
        split = split_of(path.relative_to(root)) or 'train'
        # COCO has keypoints beside the boxes ('instances').
        if split not in files or path.name.startswith('instances'):
            files[split] = path
    contents, said = {split: _read_json(path) for split, path in files.items()}, []
    for split in [split for split in contents if split != 'train' and not contents[split]['annotations']]:
        said.append(f'{files[split].relative_to(root)} has no annotations to score with, so it is left out')
        del contents[split]
    check_splits({split: content['images'] for split, content in contents.items()}, root)
    layout = Layout(NAME, 'detection', root, _classes(contents, files), said=said)
    for split, content in contents.items():
        prefix = dict(img=_image_folder(root, files[split], str(content['images'][0]['file_name'])))
        ann_file = str(files[split].relative_to(root))
        layout.sets[split] = dict(type='CocoDataset', ann_file=ann_file, data_prefix=prefix)
    return layout


def _files(root: Path) -> list[Path]:
    """The JSON files, at most one level down, that can hold boxes; they are not parsed, since they can be large."""
    paths = sorted([*root.glob('*.json'), *root.glob('*/*.json')])
    texts = {path: path.read_text(encoding='utf-8-sig', errors='replace') for path in paths}
    return [path for path, text in texts.items() if '"images"' in text and '"categories"' in text]


def _read_json(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
        return {key: list(content.get(key) or ()) for key in ('images', 'annotations', 'categories')}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f'{path} is no COCO file: {reason(error)}') from error


def _classes(contents: dict[str, dict], files: dict[str, Path]) -> tuple[str, ...]:
    """The names in the order of the train file, in which mmdet numbers them; all files must have this order."""
    used = {note.get('category_id') for content in contents.values() for note in content['annotations']}
    categories = contents['train']['categories']
    parents = {item.get('supercategory') for item in categories if item.get('supercategory') != item['name']}
    roots = [item['name'] for item in categories if item['name'] in parents and item['id'] not in used]
    names = [str(item['name']) for item in categories if item['name'] not in roots]
    for split, content in contents.items():
        others = [item['name'] for item in content['categories'] if item['name'] not in roots]
        if others != names or len(set(names)) < len(names):
            raise DataError(
                f'{files[split]} has the categories {others}, {files["train"]} has {names}; mmdet numbers the classes '
                'in the order of each file. Give both the same different names in the same order'
            )
    return tuple(names)


def _image_folder(root: Path, file: Path, name: str) -> str:
    """The folder, from the root, in which an image lies."""
    places = [file.parent, root, root / 'images', *sorted(root.glob('*/')), *sorted(root.glob('images/*/'))]
    split = split_of(file.relative_to(root))
    found = [place.relative_to(root) for place in places if (place / name).is_file()]
    if not found:
        raise DataError(f'{file} names the image {name}; it is in no folder of {root}')
    best = next((place for place in found if split_of(place) == split), found[0])
    return '' if best == Path() else f'{best}/'
