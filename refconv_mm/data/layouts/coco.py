"""The COCO layout: a JSON file of boxes for each split."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ...files.errors import DataError
from .base import Layout, split_of, with_val

NAME = 'coco'
NEEDS = "JSON files with 'images' and 'categories', the split in their names or folders, and the images"


def find(root: Path) -> str:
    """Says what makes a folder COCO; '' if nothing does."""
    return next((f'{path.relative_to(root)} with images and categories' for path in _files(root)), '')


def read(root: Path, out: Path) -> Layout:
    """Reads the categories, and finds the images.

    Raises:
        DataError: something that a training needs is wrong or missing.
    """
    files: dict[str, Path] = {}
    for path in _files(root):
        split = split_of(path.relative_to(root)) or 'train'
        # COCO has captions and keypoints beside the boxes ('instances').
        if split not in files or path.name.startswith('instances'):
            files[split] = path
    contents, said = {split: _read_json(path) for split, path in files.items()}, []
    for split in [split for split in contents if split != 'train' and not contents[split].get('annotations')]:
        said.append(f'{files[split].relative_to(root)} has no annotations to score with, so it is left out')
        del contents[split]
    names = {split: [str(image['file_name']) for image in content['images']] for split, content in contents.items()}
    parts = with_val(names, said, root)
    layout = Layout(NAME, 'detection', root, _classes(contents, files, said), {}, said=said)
    for split, chosen in parts.items():
        file = files[split if parts is names else 'train']
        ann_file = str(file.relative_to(root))
        if parts is not names:  # the val split is a part of the train split
            layout.files[f'{split}.json'] = _part(contents['train'], set(chosen))
            ann_file = str(out / f'{split}.json')
        prefix = dict(img=_image_folder(root, file, chosen[0]))
        layout.sets[split] = dict(type='CocoDataset', ann_file=ann_file, data_prefix=prefix)
    return layout


def _files(root: Path) -> list[Path]:
    """The JSON files, at most one level down, that speak of boxes; they are not parsed, since they can be large."""
    texts = {
        path: path.read_text(encoding='utf-8-sig', errors='replace')
        for path in sorted([*root.glob('*.json'), *root.glob('*/*.json')])
    }
    has = {path: [f'"{word}"' in text for word in ('images', 'categories', 'bbox')] for path, text in texts.items()}
    return [
        path for path, found in has.items() if all(found[:2]) and (found[2] or '"annotations": [{' not in texts[path])
    ]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
        missing = [part for part in ('images', 'categories') if not isinstance(content[part], list)]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{path} is no COCO file: {type(error).__name__}: {error}') from error
    if missing:
        raise DataError(f'{path} is no COCO file: it has no list {missing[0]!r}')
    return content


def _classes(contents: dict[str, dict], files: dict[str, Path], said: list[str]) -> tuple[str, ...]:
    """The names in the order of the train file, in which mmdet numbers them; all files must have this order."""
    used = {note.get('category_id') for content in contents.values() for note in content.get('annotations') or ()}
    categories = contents['train']['categories']
    parents = {item.get('supercategory') for item in categories}
    roots = [item['name'] for item in categories if item['name'] in parents and item['id'] not in used]
    roots = [name for name in roots if any(item.get('supercategory') == name != item['name'] for item in categories)]
    if roots:
        said.append(f'no box has the category {", ".join(roots)}, the parent of others, so it is left out')
    names = [item['name'] for item in categories if item['name'] not in roots]
    if odd := [name for name in names if not isinstance(name, str) or name != name.strip()]:
        raise DataError(f'{files["train"]}: the class name {odd[0]!r} is no text or has blanks around it; correct it')
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise DataError(f'{files["train"]} has two categories {twice[0]!r}; mmdet would number them as two classes')
    for split, content in contents.items():
        others = [item['name'] for item in content['categories'] if item['name'] in names]
        if others != names:
            raise DataError(
                f'{files[split]} has the categories {others}, {files["train"]} has {names}; mmdet numbers the classes '
                'in the order of each file. Give both the same categories in the same order'
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


def _part(content: dict[str, Any], names: set[str]) -> str:
    """The JSON of some images of a file."""
    images = [image for image in content['images'] if str(image['file_name']) in names]
    ids = {image['id'] for image in images}
    notes = [note for note in content.get('annotations') or () if note['image_id'] in ids]
    return json.dumps({**content, 'images': images, 'annotations': notes})
