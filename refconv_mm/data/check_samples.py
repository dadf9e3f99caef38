"""What is wrong with one sample: an image with the boxes, the label map or the class that a data set gives it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from .check_images import box_problem, look_at
from .layouts import Record


@dataclass(frozen=True)
class Finding:
    """A fault of one file.

    Attributes:
        split: `'train'`, `'val'` or `'test'`.
        kind: a short name of the kind of fault.
        where: the file.
        what: the details.
    """

    split: str
    kind: str
    where: str
    what: str = ''


@dataclass
class VocSample:
    """An image with a VOC annotation, read from the XML, since mmdet drops unknown classes without a message."""

    image: str
    xml: str
    classes: tuple[str, ...]

    def check(self, split: str) -> Iterator[Finding]:
        size = yield from _check_image(split, self.image)
        try:
            root = ElementTree.parse(self.xml).getroot()
        except FileNotFoundError:
            yield Finding(split, 'annotation missing', self.xml)
            return
        except (ElementTree.ParseError, OSError, ValueError) as error:  # ValueError: an encoding that Python lacks
            yield Finding(split, 'annotation unreadable', self.xml, str(error))
            return
        if root.find('size') is not None:
            yield from self._check_size(split, root, size)
        objects = root.findall('object')
        if not objects:
            yield Finding(split, 'image without a label', self.xml)
        for i, item in enumerate(objects):
            name = item.findtext('name')
            if name not in self.classes:
                yield Finding(split, 'unknown class', self.xml, f'object {i}: {name!r}')
            difficult = item.findtext('difficult', '0')
            if not difficult.strip().lstrip('+-').isdigit():
                yield Finding(split, 'annotation unreadable', self.xml, f'object {i}: difficult is {difficult!r}')
            try:
                # VOC counts pixels from 1 to the width.
                box = [float(item.findtext(f'bndbox/{tag}') or '') - 1 for tag in ('xmin', 'ymin', 'xmax', 'ymax')]
            except ValueError:
                yield Finding(split, 'box unreadable', self.xml, f'object {i}')
                continue
            yield from _check_box(split, self.xml, i, tuple(box), size)

    def _check_size(self, split: str, root: ElementTree.Element, size: tuple[int, int] | None) -> Iterator[Finding]:
        texts = [root.findtext(f'size/{side}') or '' for side in ('width', 'height')]
        try:
            written = (int(texts[0]), int(texts[1]))
        except ValueError:
            yield Finding(split, 'annotation unreadable', self.xml, f'its size is {texts[0]!r} x {texts[1]!r}')
            return
        if size and written != size:
            yield Finding(
                split, 'annotation of another size', self.xml,
                f'it says {written[0]}x{written[1]}, the image has {size[0]}x{size[1]}',
            )  # fmt: skip


@dataclass
class RecordedSample:
    """An image with the boxes that one of our readers found."""

    record: Record
    classes: tuple[str, ...]

    @property
    def image(self) -> str:
        return str(self.record.image)

    def check(self, split: str) -> Iterator[Finding]:
        where, said = self.record.where, self.record.size
        size = yield from _check_image(split, self.record.image)
        if size and said and said != size:
            text = f'it says {said[0]}x{said[1]}, the image has {size[0]}x{size[1]}'
            yield Finding(split, 'annotation of another size', where, text)
        for kind, what in self.record.faults:
            yield Finding(split, kind, where, what)
        if not self.record.boxes and not self.record.faults and size:
            yield Finding(split, 'image without a label', where)
        for i, box in enumerate(self.record.boxes or ()):
            if box.label not in self.classes:
                yield Finding(split, 'unknown class', where, f'{box.where}: {box.label!r}')
            yield from _check_box(split, where, i, box.corners, size)


@dataclass
class LoadedSample:
    """A sample as a data set's own reader describes it: boxes, a label map or a class number."""

    info: dict[str, Any]
    classes: int
    ignore: int

    @property
    def image(self) -> str:
        return str(self.info['img_path'])

    def check(self, split: str) -> Iterator[Finding]:
        image = self.image
        size = yield from _check_image(split, image)
        instances = self.info.get('instances')
        if instances is not None:
            if not instances:
                yield Finding(split, 'image without a label', image)
            for i, item in enumerate(instances):
                if not 0 <= item['bbox_label'] < self.classes:
                    yield Finding(split, 'label id out of range', image, f'object {i}: {item["bbox_label"]}')
                yield from _check_box(split, image, i, tuple(item['bbox']), size)
        if 'seg_map_path' in self.info:
            yield from self._check_map(split, size)
        labels = np.atleast_1d(self.info.get('gt_label', []))
        if labels.size and self.classes and (labels.min() < 0 or labels.max() >= self.classes):
            yield Finding(split, 'label id out of range', image, str(self.info['gt_label']))

    def _check_map(self, split: str, size: tuple[int, int] | None) -> Iterator[Finding]:
        path = self.info['seg_map_path']
        facts = look_at(path)
        if facts.problem or not facts.size:
            yield Finding(split, facts.problem.replace('image', 'label map'), path)
            return
        if size and facts.size != size:
            yield Finding(split, 'label map of another size', path, f'{facts.size}, its image {size}')
        with Image.open(path) as picture:
            if len(picture.getbands()) > 1:
                yield Finding(split, 'label map with colours', path, f'{picture.mode}; a map has one number a pixel')
                return
            ids = set(np.unique(np.asarray(picture)).tolist())
        if self.info.get('label_map'):
            ids = {self.info['label_map'].get(i, i) for i in ids}
        if self.info.get('reduce_zero_label'):
            ids = {self.ignore if i in (0, self.ignore) else i - 1 for i in ids}
        wrong = sorted(i for i in ids if i != self.ignore and not 0 <= i < self.classes)
        if wrong:
            yield Finding(split, 'label id out of range', path, f'{wrong[:8]} of {self.classes} classes')
        if ids <= {self.ignore}:
            yield Finding(split, 'image without a label', path, 'all ignored')


def _check_image(split: str, path: str) -> Generator[Finding, None, tuple[int, int] | None]:
    """Looks at an image; returns its width and height if it can be read."""
    facts = look_at(path)
    if facts.problem:
        yield Finding(split, facts.problem, path)
    for kind, what in facts.odd:
        yield Finding(split, kind, path, what)
    return facts.size


def _check_box(split: str, where: str, i: int, box: tuple, size: tuple[int, int] | None) -> Iterator[Finding]:
    for kind, what in box_problem(box, size):
        yield Finding(split, kind, where, f'object {i}: {what}')
