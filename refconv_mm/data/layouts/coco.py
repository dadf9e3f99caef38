"""The COCO layout: a JSON file of boxes for each split."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ...files.errors import DataError
from ..loading import reason
from .base import Layout, leave_out_empty, split_of, with_val

NAME = 'coco'
NEEDS = "JSON files with 'images', 'annotations' and 'categories', the split in their names or folders, and the images"

KEYS = ('images', 'annotations', 'categories')


def find(root: Path) -> list[Path]:
    """The JSON files, at most one level down, that can hold boxes; they are not parsed, since they can be large."""
    paths = sorted([*root.glob('*.json'), *root.glob('*/*.json')])
    texts = {path: path.read_text(encoding='utf-8-sig', errors='replace') for path in paths}
    return [path for path, text in texts.items() if all(f'"{key}"' in text for key in KEYS)]


def read(root: Path, out: Path, places: list[Path]) -> Layout:
    """Reads the categories and finds the images; a file whose classes mmdet would number otherwise is written anew."""
    files: dict[str, Path] = {}
    for path in places:
        split = split_of(path.relative_to(root)) or 'train'
        old = files.setdefault(split, path)
        if old is not path and path.name.startswith('instances') == old.name.startswith('instances'):
            raise DataError(f'{root} has several files of boxes for the split {split}: {old.name}, {path.name}')
        if path.name.startswith('instances'):  # COCO has keypoints beside the boxes
            files[split] = path
    said: list[str] = []
    contents = {split: _read_json(path) for split, path in files.items()}
    leave_out_empty(contents, said, lambda content: not content['annotations'])
    own = {split: sorted(str(image['file_name']) for image in each['images']) for split, each in contents.items()}
    parts = with_val(own, said, root)
    _keep_classes(contents)
    names = [row['name'] for row in contents['train']['classes']]
    layout = Layout(NAME, 'detection', root, tuple(names), said=said)
    for split, images in parts.items():
        file, content = files.get(split, files['train']), contents.get(split, contents['train'])
        found, ann_file = [row['name'] for row in content['classes']], str(file.relative_to(root))
        if len(set(names)) < len(names) or sorted(found) != sorted(names):
            raise DataError(f'{file} has the classes {found}, not {names}. Give all files the same classes, each once')
        # mmdet numbers the categories that are called like a class, in the order of each file.
        if parts is not own or [row['name'] for row in content['categories'] if row['name'] in names] != names:
            layout.files[f'{split}.json'] = _part(content, set(images), names)
            said.append(f'{split}.json is {ann_file} with clean class names in the order of train')
            ann_file = str(out / f'{split}.json')
        prefix = dict(img=_image_folder(root, file, images[0]))
        layout.sets[split] = dict(type='CocoDataset', ann_file=ann_file, data_prefix=prefix)
    return layout


def _read_json(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The lists of a file, and as `classes` the categories with clean names."""
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
        content = {key: list(content.get(key) or ()) for key in KEYS}
        return content | dict(classes=[{**row, 'name': str(row['name']).strip()} for row in content['categories']])
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise DataError(f'{path} is no COCO file: {reason(error)}') from error


def _keep_classes(contents: dict[str, dict[str, list]]) -> None:
    """Keeps no parent without a box in any file, and of several categories of one name only those with boxes."""
    used = {split: {note.get('category_id') for note in each['annotations']} for split, each in contents.items()}
    rows = [(split, row) for split, each in contents.items() for row in each['classes']]
    parents = {row.get('supercategory') for _, row in rows if row.get('supercategory') != row['name']}
    parents -= {row['name'] for split, row in rows if row['id'] in used[split]}
    for split, each in contents.items():
        alone = {name for name, n in Counter(row['name'] for row in each['classes']).items() if n == 1} - parents
        each['classes'] = [row for row in each['classes'] if row['id'] in used[split] or row['name'] in alone]


def _part(content: dict[str, list], images: set[str], names: list[str]) -> str:
    """The JSON of some images, their annotations, and the classes in the order of the names."""
    rows = [row for row in content['images'] if str(row['file_name']) in images]
    numbers = {row['id'] for row in rows}
    notes = [note for note in content['annotations'] if note.get('image_id') in numbers]
    categories = sorted(content['classes'], key=lambda row: names.index(row['name']))
    return json.dumps(dict(images=rows, annotations=notes, categories=categories))


def _image_folder(root: Path, file: Path, name: str) -> str:
    """The folder, from the root, in which an image lies."""
    places = [file.parent, root, root / 'images', *sorted(root.glob('*/')), *sorted(root.glob('images/*/'))]
    split = split_of(file.relative_to(root))
    found = [place.relative_to(root) for place in places if (place / name).is_file()]
    if not found:
        raise DataError(f'{file} names the image {name}; it is in no folder of {root}')
    best = next((place for place in found if split_of(place) == split), found[0])
    return '' if best == Path() else f'{best}/'
