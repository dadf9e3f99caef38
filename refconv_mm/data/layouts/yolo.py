"""The YOLO layout: a text file of boxes for each image, which no library reads; it is written as COCO JSON once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...files.errors import DataError
from ..images import image_size, images_in
from .base import Layout, leave_out_empty, lines_of, split_of, with_val

NAME = 'yolo'
NEEDS = 'folders labels beside folders images, and the class names in data.yaml or classes.txt'


def find(root: Path) -> list[Path]:
    """The folders of labels, at most two levels down."""
    folders = [path for depth in ('', '*/', '*/*/') for path in sorted(root.glob(f'{depth}labels'))]
    return [path for path in folders if next(path.rglob('*.txt'), None)]


def read(root: Path, out: Path, folders: list[Path]) -> Layout:
    """Reads the labels; the error names the lines that are no boxes."""
    said = ["no library reads YOLO's text files; the boxes are written as COCO JSON beside the configs"]
    layout = Layout(NAME, 'detection', root, _names(root), said=said)
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    for folder in folders:
        images = folder.with_name('images')
        for image in images_in(images, True):
            label = folder / image.relative_to(images).with_suffix('.txt')
            pairs.setdefault(split_of(image.parent.relative_to(root)) or 'train', []).append((image, label))
    leave_out_empty(pairs, said, lambda part: not any(label.is_file() for _, label in part))
    faults: list[str] = []
    for split, part in with_val(pairs, said, root).items():
        rows = [(image, _boxes(label, image_size(image) or (0, 0), layout, faults)) for image, label in part]
        layout.add_coco(out, split, rows)
    if faults:
        raise DataError(f'{len(faults)} labels of {root} are no boxes, such as:\n  ' + '\n  '.join(faults[:10]))
    if more := sum(len(line.split()) > 5 for part in pairs.values() for _, label in part for line in lines_of(label)):
        said.append(f'{more} polygons or oriented boxes became the upright boxes around them')
    return layout


def _boxes(
    label: Path, size: tuple[int, int], layout: Layout, faults: list[str]
) -> list[tuple[int, list[float], bool]]:
    """Class and corners of each box of an image; an image without a text file has none."""
    boxes = []
    for line in lines_of(label):
        try:
            kind, corners = _box(line.split(), len(layout.classes))
            # The numbers are rounded, so a box at the edge would lie a thousandth of a pixel outside the image.
            boxes.append((kind, [round(min(max(v, 0), 1) * size[i % 2], 2) for i, v in enumerate(corners)], False))
        except ValueError as error:
            faults.append(f'{label}, line "{line[:40]}": {error}')
    return boxes


def _box(words: list[str], classes: int) -> tuple[int, list[float]]:
    """A box from `class x y width height`, or around a polygon from `class x1 y1 x2 y2 ...`, relative to the image."""
    number, *values = map(float, words)
    if number not in range(classes):
        raise ValueError(f'class {words[0]} of {classes} classes')
    if len(values) < 4 or len(values) % 2:  # 6 are a prediction with its confidence
        raise ValueError(f'{len(words)} numbers, not 5 of a box or the pairs of a polygon')
    if not all(-0.01 <= value <= 1.01 for value in values):
        raise ValueError('numbers outside 0 to 1: pixels or keypoints')
    if len(values) == 4:
        x, y, width, height = values
        values = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    corners = [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
    if corners[0] == corners[2] or corners[1] == corners[3]:
        raise ValueError('a box of no size')
    return int(number), corners


def _names(root: Path) -> tuple[str, ...]:
    """The class names; every value in data.yaml is text, so `yes` and `1` are names."""
    names: Any = lines_of(root / 'classes.txt')
    for path in [*root.glob('*.yaml'), *root.glob('*.yml')]:
        try:
            content = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise DataError(f'{path} is no YAML: {error}') from error
        if isinstance(content, dict) and 'names' in content:
            names = content['names']
            if content.get('kpt_shape'):
                raise DataError(f'{path} has kpt_shape; lines with keypoints are not read')
            for split in ('val', 'test'):
                if content.get(split) and not split_of(str(content[split])):
                    raise DataError(f'{path}: the name of {split}: {content[split]} must say its split, as images/val')
    if isinstance(names, dict):
        names = [names.get(str(number), '') for number in range(len(names))]
    names = tuple(name.strip() for name in names) if isinstance(names, list) else ()
    if not names or len({*names, ''}) <= len(names):
        raise DataError(f'{root} needs class names, each once, in data.yaml or classes.txt, and has {names}')
    return names
