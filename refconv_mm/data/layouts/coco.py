"""The COCO layout: a JSON file of boxes for each split."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .base import SPLITS, Box, Layout, Record, split_of

PARTS = ('images', 'annotations', 'categories')


class Coco(Layout):
    """`annotations/*train*.json`, or a JSON file in the folder of its images, as Roboflow writes it."""

    name = 'coco'
    task = 'detection'
    looks_for = "a JSON file with 'images', 'annotations' and 'categories', its split in its name"

    @classmethod
    def find(cls, root: Path) -> Coco | None:
        files: dict[str, Path] = {}
        for path in sorted([*root.glob('*.json'), *root.glob('*/*.json')]):
            split = _split(path)
            # COCO has captions and keypoints beside the boxes ('instances').
            if split and (split not in files or path.name.startswith('instances')) and _is_coco(path):
                files[split] = path
        if not files:
            return None
        contents = {split: read_json(files[split]) for split in SPLITS if split in files}
        categories = next(iter(contents.values()))['categories']
        sets: dict[str, dict[str, Any]] = {
            split: dict(
                type='CocoDataset',
                ann_file=str(files[split].relative_to(root)),
                data_prefix=dict(img=_image_folder(root, files[split], split, content)),
            )
            for split, content in contents.items()
        }
        # In the order of the file: CocoDataset numbers its classes so, whatever order `classes` has.
        return cls(root, tuple(str(item['name']) for item in categories), sets)

    def records(self, split: str) -> Iterator[Record]:
        found = self.sets[split]
        yield from coco_records(self.root / found['ann_file'], self.root / found['data_prefix']['img'])


def coco_records(ann_file: str | Path, images: str | Path) -> Iterator[Record]:
    """Reads a COCO file; also what CocoDataset drops without a word: unknown classes and boxes of no size.

    Raises:
        ValueError: it is no COCO file.
    """
    content = read_json(Path(ann_file))
    names = {item['id']: str(item['name']) for item in content['categories']}
    boxes: dict[Any, list[dict]] = defaultdict(list)
    for item in content['annotations']:
        boxes[item.get('image_id')].append(item)
    for image in content['images']:
        parsed = [_box(item, names) for item in boxes.pop(image.get('id'), [])]
        yield Record(
            os.path.join(images, str(image.get('file_name', ''))),
            f'{ann_file}: {image.get("file_name")}',
            boxes=tuple(item for item in parsed if isinstance(item, Box)),
            size=_size(image),
            faults=tuple(item for item in parsed if not isinstance(item, Box)),
        )
    for lost, items in boxes.items():
        yield Record('', str(ann_file), faults=(('box without an image', f'image_id {lost!r}: {len(items)} boxes'),))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a COCO file.

    Raises:
        ValueError: the file is no JSON, or parts are missing.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no JSON file: {error}') from error
    missing = [part for part in PARTS if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if missing:
        raise ValueError(f'{path} is no COCO file: it has no list {", ".join(map(repr, missing))}')
    return content


def _box(item: dict, names: dict[Any, str]) -> Box | tuple[str, str]:
    where = f'annotation {item.get("id")}'
    try:
        x, y, width, height = (float(value) for value in item['bbox'])
    except (KeyError, TypeError, ValueError):
        return 'box unreadable', f'{where}: bbox {item.get("bbox")!r}'
    if 'area' not in item:
        return 'box without area', f'{where}: mmdet reads its area, which is width times height'
    label = names.get(item.get('category_id'), f'category_id {item.get("category_id")}')
    return Box(label, (x, y, x + width, y + height), where)


def _size(image: dict) -> tuple[int, int] | None:
    width, height = image.get('width'), image.get('height')
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _split(path: Path) -> str | None:
    """The split in a name like instances_train2017.json or train/_annotations.coco.json."""
    words = path.stem.replace('.', '_').replace('-', '_').split('_')
    return next((split for word in words if (split := split_of(word))), None) or split_of(path.parent.name)


def _is_coco(path: Path) -> bool:
    try:
        content = read_json(path)
    except ValueError:
        return False
    return not content['annotations'] or 'bbox' in content['annotations'][0]


def _image_folder(root: Path, file: Path, split: str, content: dict) -> str:
    """The folder, from the root, in which the first image lies."""
    if not content['images']:
        raise ValueError(f'{file} lists no images')
    first = content['images'][0]['file_name']
    names = [path.name for path in sorted(root.iterdir()) if path.is_dir() and split_of(path.name) == split]
    tried = ['', 'images', *names, *(f'images/{name}' for name in (*names, split)), str(file.parent.relative_to(root))]
    for folder in tried:
        if (root / folder / first).is_file():
            return f'{folder}/' if folder not in ('', '.') else ''
    raise ValueError(f'{file} names the image {first}; it is in none of {", ".join(map(repr, tried))} of {root}')
