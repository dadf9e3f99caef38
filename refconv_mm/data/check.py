"""Checks the data sets of a config for faults that would hurt a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from .check_images import GREY, ODD, box_problem, look_at
from .classes import class_difference, config_classes, data_classes, dataset_class, is_voc, leaves, voc_paths
from .layouts import Record, detect_layout, read_dataset, voc_record

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
            found = [
                each
                for sample in track(samples, f'{split:>5}', disable=not progress, transient=True)
                for each in sample.check(split)
            ]
            twice = Counter(sample.image for sample in samples)
            findings += [Finding(split, 'listed twice', path, f'{n} times') for path, n in twice.items() if n > 1]
            findings += without_repetition(found, len(samples), str(leaf.get('data_root') or ''))
    if not seen:
        raise ValueError('the config has no train_dataloader, val_dataloader or test_dataloader to check')
    return findings, counts


def without_repetition(findings: list[Finding], images: int, root: str) -> list[Finding]:
    """Says once what all images of a set have in common; that all are grey is no fault at all."""
    alike = {key for key, n in Counter((f.kind, f.what) for f in findings if f.kind in ODD).items() if 1 < n == images}
    rest = [each for each in findings if (each.kind, each.what) not in alike]
    shared = sorted((kind, what) for kind, what in alike if kind != GREY)
    return rest + [Finding(findings[0].split, kind, root, f'all {images} images: {what}') for kind, what in shared]


def class_lines(cfg: Config) -> list[str]:
    """For each split whose data has other classes than the config: both, in a sentence.

    Raises:
        ValueError: the classes of a data set are a text.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    lines = []
    for split in SPLITS:
        for leaf in leaves((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {'type': None}):
            try:
                difference = class_difference(config_classes(leaf), data_classes(leaf))
            except ValueError as error:
                raise ValueError(f'{split}_dataloader: {error}') from error
            if difference:
                lines.append(f'{split}: {difference}')
    return lines


def folder_config(folder: str | Path) -> Config:
    """The data sets of a folder as a config.

    Raises:
        FileNotFoundError, ValueError: as :func:`refconv_mm.data.layouts.detect_layout`.
    """
    layout = detect_layout(folder)
    scopes = dict(detection='mmdet', segmentation='mmseg', classification='mmpretrain')
    loaders = {f'{split}_dataloader': dict(dataset=layout.dataset(split)) for split in layout.splits}
    return Config(dict(default_scope=scopes[layout.task], **loaders))


def findings_table(findings: list[Finding], counts: dict[str, int], most: int = 50) -> Table:
    """The first `most` findings as a table."""
    total = ', '.join(f'{n} {split}' for split, n in counts.items())
    table = Table(title=f'{len(findings)} findings in {total} samples', title_justify='left')
    for name in ('split', 'kind', 'file', 'detail'):
        table.add_column(name, overflow='fold')
    for item in findings[:most]:
        table.add_row(item.split, item.kind, escape(item.where), escape(item.what))
    if len(findings) > most:
        table.caption = f'and {len(findings) - most} more'
    return table


@dataclass
class _Recorded:
    """An image with the boxes that one of our readers found, since mmdet's drop what they do not know."""

    record: Record
    classes: tuple[str, ...]

    @property
    def image(self) -> str:
        return self.record.image

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
class _Loaded:
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


def _samples(leaf: dict, split: str, findings: list[Finding]) -> Iterator[_Recorded | _Loaded]:
    """Reads the list of a data set; a fault of the list itself becomes a finding."""
    kind = dataset_class(leaf)
    if kind is None:
        raise ValueError(f'{split}: data set type {leaf["type"]!r} is not registered; is its module in custom_imports?')
    classes = config_classes(leaf)
    if is_voc(kind):
        listed, paths = voc_paths(leaf)
        if not Path(listed).is_file():
            findings.append(Finding(split, 'image list missing', listed))
            return
        yield from (_Recorded(voc_record(image, xml), classes) for image, xml in paths)
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
    except TypeError:
        raise  # an option that the data set does not have
    except Exception as error:  # whatever a reader trips over in a damaged list
        what = f'{type(error).__name__}: {error}'
        findings.append(Finding(split, 'data set unreadable', str(leaf.get('data_root', '')), what))
        return
    count = len(dataset.metainfo.get('classes') or classes)
    ignore = getattr(dataset, 'ignore_index', 255)
    for i in range(len(dataset)):
        yield _Loaded(dataset.get_data_info(i), count, ignore)


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
