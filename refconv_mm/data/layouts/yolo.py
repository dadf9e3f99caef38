"""The YOLO layout: a text file of boxes for each image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from .base import Box, Layout, Record, images_in, loaded_size, split_folders


class Yolo(Layout):
    """`data.yaml` with `names` and the splits, or `images/train`, `labels/train` and `classes.txt`."""

    name = 'yolo'
    task = 'detection'
    looks_for = 'data.yaml with names, or images/SPLIT, labels/SPLIT and classes.txt,'

    @classmethod
    def find(cls, root: Path) -> Yolo | None:
        for path in sorted([*root.glob('*.yaml'), *root.glob('*.yml')]):
            content = yaml.safe_load(path.read_text())
            if isinstance(content, dict) and 'names' in content:
                return cls(root, _names(path, content['names']), _sets(root, path, content))
        folders = split_folders(root / 'images')
        if not folders or not any((root / 'labels').rglob('*.txt')):
            return None
        names = next((path for name in ('classes.txt', 'labels/classes.txt') if (path := root / name).is_file()), None)
        if names is None:
            raise ValueError(
                f'{root} has YOLO labels and no names of the classes; write classes.txt, a name a line in the order '
                'of the class numbers'
            )
        classes = tuple(line.strip() for line in names.read_text().splitlines() if line.strip())
        return cls(root, classes, {split: _set(root, [path]) for split, path in folders.items()})

    def records(self, split: str) -> Iterator[Record]:
        yield from yolo_records(str(self.root), self.sets[split]['images'], self.classes)


@DATASETS.register_module()
class YoloDataset(BaseDataset):
    """Reads boxes in YOLO's text files, for mmdet, which has no reader of its own.

    Args:
        images: folders of images, or text files that list images, from `data_root`. The labels lie where the last
            `images` of a path is `labels`, or beside the images if there is none.
        metainfo: with `classes`.
    """

    def __init__(
        self,
        images: list[str],
        data_root: str = '',
        metainfo: dict | None = None,
        filter_cfg: dict | None = None,
        pipeline: list[dict] | None = None,
        test_mode: bool = False,
        indices: int | list[int] | None = None,
        serialize_data: bool = True,
        lazy_init: bool = False,
    ) -> None:
        self.images = images
        super().__init__(
            metainfo=metainfo,
            data_root=data_root,
            filter_cfg=filter_cfg,
            pipeline=pipeline or [],
            test_mode=test_mode,
            indices=indices,
            serialize_data=serialize_data,
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[dict]:
        """The images with their boxes; raises a ValueError that names the first line that is wrong."""
        classes = list(self.metainfo['classes'])
        smallest = (self.filter_cfg or {}).get('bbox_min_size', 0)
        return [
            _info(i, record, classes, smallest)
            for i, record in enumerate(yolo_records(self.data_root, self.images, tuple(classes)))
            if record.image
        ]

    def filter_data(self) -> list[dict]:
        """Leaves out small images, and images without a box, as mmdet's data sets do."""
        options = self.filter_cfg or {}
        if self.test_mode or not options:
            return self.data_list
        return [
            item
            for item in self.data_list
            if min(item['width'], item['height']) >= options.get('min_size', 0)
            and (item['instances'] or not options.get('filter_empty_gt'))
        ]

    def get_cat_ids(self, idx: int) -> list[int]:
        """The class numbers in an image, for ClassBalancedDataset."""
        return [item['bbox_label'] for item in self.get_data_info(idx)['instances']]


def yolo_records(root: str, images: list[str], classes: tuple[str, ...]) -> Iterator[Record]:
    """Reads images and labels; an image without a label file has no boxes, as in YOLO."""
    for entry in images:
        path = Path(root, entry)
        listed = [path.parent / line for line in path.read_text().split()] if path.is_file() else images_in(path, True)
        labels = set() if path.is_file() else set(Path(_label(path / 'x')).parent.rglob('*.txt'))
        for image in listed:
            label = Path(_label(image))
            labels.discard(label)
            yield _record(image, label, classes)
        for label in sorted(labels):
            if label.name != 'classes.txt':
                yield Record('', str(label), faults=(('label without an image', ''),))


def _record(image: Path, label: Path, classes: tuple[str, ...]) -> Record:
    size = loaded_size(image)
    if size is None or not label.is_file():
        return Record(str(image), str(label), boxes=())  # the check of the image says what is wrong with it
    lines = enumerate(label.read_text().splitlines(), 1)
    parsed = [_box(line.split(), f'line {n}', size, classes) for n, line in lines if line.strip()]
    return Record(
        str(image),
        str(label),
        boxes=tuple(item for item in parsed if isinstance(item, Box)),
        faults=tuple(item for item in parsed if not isinstance(item, Box)),
    )


def _box(words: list[str], where: str, size: tuple[int, int], classes: tuple[str, ...]) -> Box | tuple[str, str]:
    """A box from `class x y width height`, or around a polygon from `class x1 y1 x2 y2 ...`, relative to the image."""
    try:
        number, values = int(float(words[0])), [float(word) for word in words[1:]]
    except ValueError:
        return 'box unreadable', f'{where}: {" ".join(words)}'
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return 'box unreadable', f'{where}: {len(values)} numbers, not 4 of a box or the pairs of a polygon'
    if len(values) == 4:
        x, y, width, height = values
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        corners = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    label = classes[number] if 0 <= number < len(classes) else f'class {number}'
    # The numbers are rounded, so a box at the edge would lie a thousandth of a pixel outside the image.
    x1, y1, x2, y2 = (round(value * size[i % 2], 2) for i, value in enumerate(corners))
    return Box(label, (x1, y1, x2, y2), where)


def _info(i: int, record: Record, classes: list[str], smallest: float) -> dict[str, Any]:
    if record.faults:
        kind, what = record.faults[0]
        raise ValueError(f'{record.where}: {kind}: {what}')
    size = loaded_size(record.image)
    if size is None:
        raise ValueError(f'{record.image}: the image is missing or unreadable')
    instances = []
    for box in record.boxes or ():
        if box.label not in classes:
            raise ValueError(f'{record.where}, {box.where}: {box.label} of {len(classes)} classes')
        x1, y1, x2, y2 = box.corners
        small = min(x2 - x1, y2 - y1) < smallest
        instances.append(dict(bbox=list(box.corners), bbox_label=classes.index(box.label), ignore_flag=int(small)))
    return dict(img_path=record.image, img_id=i, width=size[0], height=size[1], instances=instances)


def _label(image: Path) -> str:
    """The label file of an image: the last folder `images` becomes `labels`."""
    head, found, tail = str(image.with_suffix('.txt')).rpartition(f'{os.sep}images{os.sep}')
    return f'{head}{os.sep}labels{os.sep}{tail}' if found else tail


def _names(path: Path, names: Any) -> tuple[str, ...]:
    """Class names from a list, or from a dict by number."""
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(f'{path}: names must be numbered from 0 without a gap, got {sorted(names)}')
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f'{path}: names must list the classes, got {names!r}')
    return tuple(map(str, names))


def _sets(root: Path, path: Path, content: dict) -> dict[str, dict]:
    sets = {}
    for split in ('train', 'val', 'test'):
        given = content.get(split) or (content.get('valid') if split == 'val' else None)
        if not given:
            continue
        entries = given if isinstance(given, list) else [given]
        found = [_located(root, str(content.get('path') or ''), str(entry)) for entry in entries]
        missing = [str(entry) for entry, where in zip(entries, found, strict=True) if where is None]
        if missing and split != 'test':  # a test split is often named and absent
            raise ValueError(f'{path}: {split} names {", ".join(missing)}, which is not in {root}')
        if not missing:
            sets[split] = _set(root, [where for where in found if where])
    return sets


def _located(root: Path, base: str, entry: str) -> Path | None:
    """The folder or list of an entry. Ultralytics and Roboflow write paths from elsewhere: `path`, and `../`."""
    tried = [root / base / entry, root / entry, root / entry.removeprefix('../')]
    return next((path for path in tried if path.exists()), None)


def _set(root: Path, paths: list[Path]) -> dict[str, Any]:
    return dict(type='YoloDataset', images=[os.path.relpath(path, root) for path in paths])
