"""The YOLO layout: a text file of boxes for each image, which no library reads; it is written as COCO JSON once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...files.errors import DataError
from ..images import image_size
from .base import Layout, coco_text, images_in, split_of, with_val

NAME = 'yolo'
NEEDS = (
    'folders labels with text files of numbers beside folders images, and the class names in data.yaml or classes.txt'
)
NO_LABELS = ('classes.txt', 'notes.txt', 'train.txt', 'val.txt', 'test.txt')


def find(root: Path) -> str:
    """Says what makes a folder YOLO; '' if nothing does."""
    return next((str(label.relative_to(root)) for folder in _label_folders(root) for label in _labels(folder)), '')


def read(root: Path, out: Path) -> Layout:
    """Reads the labels.

    Raises:
        DataError: names the lines that are no boxes, or what is missing.
    """
    said = ["no library reads YOLO's text files; the boxes are written as COCO JSON beside the configs"]
    content = next(filter(None, map(_yaml, sorted([*root.glob('*.yaml'), *root.glob('*.yml')]))), {})
    layout = Layout(NAME, 'detection', root, _names(root, content), {}, said=said)
    if content.get('kpt_shape'):
        said.append('data.yaml has kpt_shape: of each line the box is read, and the keypoints are left out')
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    for folder in _label_folders(root):
        images = folder.with_name('images')
        found = {path: folder / path.relative_to(images).with_suffix('.txt') for path in images_in(images, True)}
        for image, label in found.items():
            pairs.setdefault(split_of(image.parent.relative_to(root)) or 'train', []).append((image, label))
        if lost := sorted(set(_labels(folder)) - set(found.values())):
            said.append(f'{len(lost)} label files have no image, such as {lost[0].relative_to(root)}')
    faults: list[str] = []
    polygons = 0
    for split, part in with_val(pairs, said, root).items():
        rows = []
        for image, label in part:
            size = image_size(image)
            boxes = _boxes(label, size or (0, 0), len(layout.classes), bool(content.get('kpt_shape')), faults)
            faults += [] if size else [f'{image}: the image cannot be read']
            polygons += sum(is_polygon for is_polygon, *_ in boxes)
            rows.append((str(image.relative_to(root)), *(size or (0, 0)), [(kind, box) for _, kind, box in boxes]))
        layout.files[f'{split}.json'], ann_file = coco_text(rows, layout.classes), str(out / f'{split}.json')
        layout.sets[split] = dict(type='CocoDataset', ann_file=ann_file, data_prefix=dict(img=''))
    if faults:
        more = f'\n  and {len(faults) - 10} more' * (len(faults) > 10)
        raise DataError(f'{len(faults)} labels of {root} are no boxes:\n  ' + '\n  '.join(faults[:10]) + more)
    said += [f'{polygons} lines are polygons or oriented boxes; the upright box around each is used'] * bool(polygons)
    return layout


def _label_folders(root: Path) -> list[Path]:
    return sorted(path for depth in ('', '*/', '*/*/') for path in root.glob(f'{depth}labels') if path.is_dir())


def _labels(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*.txt') if path.name not in NO_LABELS)


def _boxes(label: Path, size: tuple[int, int], classes: int, keypoints: bool, faults: list[str]) -> list[tuple]:
    """The boxes of an image: whether it is a polygon, class, corners; an image without a text file has no boxes."""
    boxes = []
    lines = label.read_text(errors='replace').splitlines() if label.is_file() else []
    for number, words in enumerate(map(str.split, lines), 1):
        try:
            if words:
                label_number, corners = _box(words[:5] if keypoints else words, classes)
                # The numbers are rounded, so a box at the edge would lie a thousandth of a pixel outside the image.
                corners = [round(min(max(value, 0), 1) * size[i % 2], 2) for i, value in enumerate(corners)]
                boxes.append((len(words) > 5 and not keypoints, label_number, corners))
        except ValueError as error:
            faults.append(f'{label}, line {number}: {error}')
    return boxes


def _box(words: list[str], classes: int) -> tuple[int, list[float]]:
    """A box from `class x y width height`, or around a polygon from `class x1 y1 x2 y2 ...`, relative to the image."""
    number, *values = map(float, words)
    if number not in range(classes):
        raise ValueError(f'class {words[0]} of {classes} classes')
    if len(values) == 5:
        raise ValueError('6 numbers: a prediction with its confidence is no label')
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f'{len(values) + 1} numbers, not 5 of a box or the pairs of a polygon')
    if not all(-0.01 <= value <= 1.01 for value in values):
        raise ValueError('numbers outside 0 to 1: pixels, or keypoints without kpt_shape in data.yaml')
    if len(values) == 4:
        x, y, width, height = values
        values = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    corners = [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
    if corners[0] == corners[2] or corners[1] == corners[3]:
        raise ValueError('a box of no size')
    return int(number), corners


def _yaml(path: Path) -> dict[str, Any]:
    """The content of data.yaml, in which every value is text: `yes` and `1` are names; {} if it is another file."""
    try:
        content = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise DataError(f'{path} is no YAML: {error}') from error
    if not isinstance(content, dict) or 'names' not in content:
        return {}
    for split in ('train', 'val'):
        entries = content.get(split) or []
        for entry in [entries] if isinstance(entries, str) else entries:
            if entry.endswith('.txt') or split_of(entry) not in (split, None):
                raise DataError(f'{path}: {split} is {entry}; the splits must be folders that are called train and val')
    return content


def _names(root: Path, content: dict[str, Any]) -> tuple[str, ...]:
    """The class names, as text and without blanks around them."""
    names = content.get('names')
    if isinstance(names, dict):
        names = (
            [names[key] for key in sorted(names, key=int)] if sorted(map(int, names)) == [*range(len(names))] else []
        )
    if not content:
        paths = (root / name for name in ('classes.txt', 'labels/classes.txt', 'obj.names'))
        path = next(filter(Path.is_file, paths), None)
        if path is None:
            raise DataError(f'{root} has YOLO labels and no class names; write classes.txt, a name a line, as numbered')
        names = [line for line in path.read_text().splitlines() if line.strip()]
    texts = [str(name).strip() for name in names] if isinstance(names, list) else []
    if not texts or len(set(texts)) < len(texts):
        raise DataError(
            f'{root}: names must list different classes, numbered from 0, not {content.get("names", texts)}'
        )
    return tuple(texts)
