"""Checks the data sets of a config for faults that would hurt a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from .check_images import GREY, ODD
from .check_samples import Finding, LoadedSample, RecordedSample, VocSample
from .classes import class_difference, config_classes, data_classes, dataset_class, is_voc, leaves, voc_paths
from .layouts import detect_layout, read_dataset

SPLITS = ('train', 'val', 'test')


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


def _samples(leaf: dict, split: str, findings: list[Finding]) -> Iterator[VocSample | RecordedSample | LoadedSample]:
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
        yield from (VocSample(image, xml, classes) for image, xml in paths)
        return
    options = {k: v for k, v in leaf.items() if k not in ('pipeline', 'filter_cfg', 'test_mode', 'indices')}
    try:
        records = list(read_dataset(leaf, kind.__name__, classes) or ())
        lost = [record for record in records if not record.image]
        findings += [Finding(split, fault, record.where, what) for record in lost for fault, what in record.faults]
        if len(records) > len(lost):
            yield from (RecordedSample(record, classes) for record in records if record.image)
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
        yield LoadedSample(dataset.get_data_info(i), count, ignore)
