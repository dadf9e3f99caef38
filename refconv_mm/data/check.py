"""Checks the data sets of a config for faults that would hurt a training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image, UnidentifiedImageError
from rich.progress import track
from rich.table import Table

from .layouts import Record, detect_layout, read_dataset

SPLITS = ('train', 'val', 'test')


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


def check_config(cfg: Config, progress: bool = False) -> tuple[list[Finding], dict[str, int]]:
    """Checks every image and annotation of the train, val and test sets.

    Args:
        cfg: any mmdet, mmseg or mmpretrain config; only its data loaders and classes are used.
        progress: show a progress bar.

    Returns:
        The findings, and the number of samples by split. A set that equals an earlier one (often test and val) is
        checked once.

    Raises:
        ValueError: the config has no data loader.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    findings: list[Finding] = []
    counts: dict[str, int] = {}
    seen: list[dict] = []
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for leaf in leaves(loader['dataset']):
            plain = {k: v for k, v in leaf.items() if k not in ('pipeline', 'test_mode', 'filter_cfg')}
            if plain in seen:
                continue
            seen.append(plain)
            samples = list(_samples(leaf, split, findings))
            counts[split] = counts.get(split, 0) + len(samples)
            if not samples and not any(item.split == split for item in findings):
                findings.append(Finding(split, 'no samples', str(leaf.get('data_root', ''))))
            for sample in track(samples, f'{split:>5}', disable=not progress, transient=True):
                findings += sample.check(split)
    if not seen:
        raise ValueError('the config has no train_dataloader, val_dataloader or test_dataloader to check')
    return findings, counts


def folder_config(folder: str | Path) -> Config:
    """The data sets of a folder as a config.

    Raises:
        FileNotFoundError, ValueError: as :func:`refconv_mm.data.layouts.detect_layout`.
    """
    layout = detect_layout(folder)
    scopes = dict(detection='mmdet', segmentation='mmseg', classification='mmpretrain')
    loaders = {f'{split}_dataloader': dict(dataset=layout.dataset(split)) for split in layout.splits}
    return Config(dict(default_scope=scopes[layout.task], **loaders))


def leaves(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaves(item)


def findings_table(findings: list[Finding], counts: dict[str, int], most: int = 50) -> Table:
    """The first `most` findings as a table."""
    total = ', '.join(f'{n} {split}' for split, n in counts.items())
    table = Table(title=f'{len(findings)} findings in {total} samples', title_justify='left')
    for name in ('split', 'kind', 'file', 'detail'):
        table.add_column(name, overflow='fold')
    for item in findings[:most]:
        table.add_row(item.split, item.kind, item.where, item.what)
    if len(findings) > most:
        table.caption = f'and {len(findings) - most} more'
    return table


@dataclass
class _Voc:
    """An image with a VOC annotation, read from the XML, since mmdet drops unknown classes without a message."""

    image: str
    xml: str
    classes: tuple[str, ...]

    def check(self, split: str) -> Iterator[Finding]:
        size, problem = _image_size(self.image)
        if problem:
            yield Finding(split, problem, self.image)
        try:
            root = ElementTree.parse(self.xml).getroot()
        except FileNotFoundError:
            yield Finding(split, 'annotation missing', self.xml)
            return
        except ElementTree.ParseError as error:
            yield Finding(split, 'annotation unreadable', self.xml, str(error))
            return
        objects = root.findall('object')
        if not objects:
            yield Finding(split, 'image without a label', self.xml)
        for i, item in enumerate(objects):
            name = item.findtext('name') or ''
            if name not in self.classes:
                yield Finding(split, 'unknown class', self.xml, f'object {i}: {name!r}')
            try:
                box = [float(item.findtext(f'bndbox/{tag}') or '') for tag in ('xmin', 'ymin', 'xmax', 'ymax')]
            except ValueError:
                yield Finding(split, 'box unreadable', self.xml, f'object {i}')
                continue
            # VOC counts pixels from 1 to the width.
            yield from _check_box(split, self.xml, i, (box[0] - 1, box[1] - 1, box[2] - 1, box[3] - 1), size)


@dataclass
class _Recorded:
    """An image with the boxes that one of our readers found."""

    record: Record
    classes: tuple[str, ...]

    def check(self, split: str) -> Iterator[Finding]:
        where, said = self.record.where, self.record.size
        size, problem = _image_size(self.record.image)
        if problem:
            yield Finding(split, problem, self.record.image)
        if size and said and said != size:
            text = f'it says {said[0]}x{said[1]}, the image has {size[0]}x{size[1]}'
            yield Finding(split, 'annotation of another size', where, text)
        for kind, what in self.record.faults:
            yield Finding(split, kind, where, what)
        if not self.record.boxes and not self.record.faults and not problem:
            yield Finding(split, 'image without a label', where)
        for i, box in enumerate(self.record.boxes or ()):
            if box.label not in self.classes:
                yield Finding(split, 'unknown class', where, f'{box.where}: {box.label!r}')
            yield from _check_box(split, where, i, box.corners, size)


@dataclass
class _Loaded:
    """A sample as a data set's own reader describes it: boxes, a label map or a class number."""

    info: dict[str, Any]
    classes: int
    ignore: int

    def check(self, split: str) -> Iterator[Finding]:
        image = self.info['img_path']
        size, problem = _image_size(image)
        if problem:
            yield Finding(split, problem, image)
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
        map_size, problem = _image_size(path)
        if problem:
            yield Finding(split, problem.replace('image', 'label map'), path)
            return
        if size and map_size != size:
            yield Finding(split, 'label map of another size', path, f'{map_size}, its image {size}')
        with Image.open(path) as picture:
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


def _samples(leaf: dict, split: str, findings: list[Finding]) -> Iterator[_Voc | _Recorded | _Loaded]:
    """Reads the list of a data set; a fault of the list itself becomes a finding."""
    with DATASETS.switch_scope_and_registry(leaf.get('_scope_')) as registry:
        kind = registry.get(leaf['type']) if isinstance(leaf['type'], str) else leaf['type']
    if kind is None:
        raise ValueError(f'{split}: data set type {leaf["type"]!r} is not registered; is its module in custom_imports?')
    names = [base.__name__ for base in kind.__mro__]
    metainfo = {**(getattr(kind, 'METAINFO', None) or {}), **(leaf.get('metainfo') or {})}
    classes = tuple(metainfo.get('classes') or ())
    if 'XMLDataset' in names:
        yield from _voc_samples(leaf, classes, split, findings)
        return
    options = {k: v for k, v in leaf.items() if k not in ('pipeline', 'filter_cfg', 'test_mode', 'indices')}
    try:
        records = list(read_dataset(leaf, kind.__name__, classes) or ())
        lost = [record for record in records if not record.image]
        findings += [Finding(split, fault, record.where, what) for record in lost for fault, what in record.faults]
        if len(records) > len(lost):
            yield from (_Recorded(record, classes) for record in records if record.image)
            return
        dataset = DATASETS.build({**options, 'pipeline': [], 'test_mode': True, 'serialize_data': False})
    except (AssertionError, RuntimeError, OSError, ValueError) as error:
        findings.append(Finding(split, 'data set unreadable', str(leaf.get('data_root', '')), str(error)))
        return
    count = len(dataset.metainfo.get('classes') or classes)
    ignore = getattr(dataset, 'ignore_index', 255)
    for i in range(len(dataset)):
        yield _Loaded(dataset.get_data_info(i), count, ignore)


def _voc_samples(leaf: dict, classes: tuple[str, ...], split: str, findings: list[Finding]) -> Iterator[_Voc]:
    root = leaf.get('data_root') or ''
    listed = os.path.join(root, leaf['ann_file'])
    sub = os.path.join(root, (leaf.get('data_prefix') or {}).get('sub_data_root', ''))
    if not Path(listed).is_file():
        findings.append(Finding(split, 'image list missing', listed))
        return
    images, notes = leaf.get('img_subdir', 'JPEGImages'), leaf.get('ann_subdir', 'Annotations')
    for name in Path(listed).read_text().split('\n'):
        if name.strip():
            name = name.strip()
            yield _Voc(os.path.join(sub, images, f'{name}.jpg'), os.path.join(sub, notes, f'{name}.xml'), classes)


def _image_size(path: str) -> tuple[tuple[int, int] | None, str]:
    """The (width, height) of an image and '', or None and the fault if it does not decode."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.size, ''
    except FileNotFoundError:
        return None, 'image missing'
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None, 'image unreadable'


def _check_box(split: str, where: str, i: int, box: tuple, size: tuple[int, int] | None) -> Iterator[Finding]:
    x1, y1, x2, y2 = box
    text = f'object {i}: ({x1:g}, {y1:g}) to ({x2:g}, {y2:g})'
    if x2 <= x1 or y2 <= y1:
        yield Finding(split, 'box of no size', where, text)
    if size and (x1 < 0 or y1 < 0 or x2 > size[0] or y2 > size[1]):
        yield Finding(split, 'box outside the image', where, f'{text}, image {size[0]}x{size[1]}')
