"""Checks the data sets of a config for faults that would hurt a training."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from .images import why_unreadable
from .loading import Finding, Loaded, load_sets, reason


def check_config(cfg: Config, progress: bool = False) -> tuple[list[Finding], list[Loaded]]:
    """Loads every image and annotation of the train, val and test sets as a training does.

    Returns the findings, and the data sets with their counts; raises ValueError if the config has no data loader.
    """
    sets = load_sets(cfg)
    trained: dict[bytes, str] = {}  # the images of the training by the digest of their pixels
    for loaded in sets:
        load, first = _loading(loaded.config), list[int]()
        for number, sample in enumerate(track(loaded.samples, loaded.split, transient=True, disable=not progress)):
            if (pixels := check_sample(loaded, sample, load)) is None:
                continue
            first += [number] * (len(first) < 4)
            image, digest = str(sample.get('img_path')), hashlib.blake2b(pixels.astype(np.uint8).tobytes()).digest()
            if loaded.split == 'train':
                trained[digest] = image
            elif digest in trained:
                loaded.find('image of train', image, f'is {trained[digest]}', error=False)
        _check_classes(loaded, sets[0])
        _check_pipeline(loaded, first, cfg)
    _compare_sets(sets, cfg)
    return [finding for loaded in sets for finding in loaded.findings], sets


def check_sample(loaded: Loaded, sample: dict, load: Compose) -> np.ndarray | None:
    """Loads an image with its annotations; the faults become findings. Returns the image, or None if that fails."""
    results, problem = copy.deepcopy(sample), ''
    try:
        results = load(results) or results
    except Exception as error:  # whatever a transform trips over
        problem = reason(error)
    image, mask = sample.get('img_path'), sample.get('seg_map_path')
    where = str(mask or sample.get('xml_path') or image)
    if 'img' not in results:
        text = why_unreadable(str(image)) or problem
        loaded.find('image unreadable', image, text or 'no transform Load... loads it', error=bool(text))
    elif problem:
        loaded.find('annotation unreadable', where, (why_unreadable(mask) if mask else '') or problem)
    else:
        size = results['img'].shape[1], results['img'].shape[0]
        for number, item in enumerate(results.get('instances') or ()):
            _check_box(loaded, where, number, item, size)
        if mask and results.get('gt_seg_map') is not None:
            _check_map(loaded, mask, results['gt_seg_map'], size)
        return results['img']
    return None


def findings_table(findings: list[Finding]) -> Table:
    """A table of the findings, errors first: each kind of a split once, with its number and the first three files."""
    errors = sum(each.error for each in findings)
    table = Table(title=f'{errors} errors, {len(findings) - errors} warnings', title_justify='left')
    for name in ('', 'split', 'kind', 'number', 'where and what'):
        table.add_column(name, overflow='fold')
    groups: dict[tuple, list[str]] = {}
    for each in sorted(findings, key=lambda each: not each.error):
        group = 'error' if each.error else 'warning', each.split, each.kind
        groups.setdefault(group, []).append(f'{each.where}: {each.what}')
    for group, lines in groups.items():
        shown = lines[:3] + [f'and {len(lines) - 3} more'] * (len(lines) > 3)
        table.add_row(*group, str(len(lines)), escape('\n'.join(shown)))
    return table


def _loading(config: dict) -> Compose:
    """The part of a data set's pipeline that loads images and annotations."""
    steps = config.get('pipeline') or ()
    names = [str(getattr(step['type'], '__name__', step['type'])).rpartition('.')[2] for step in steps]
    return Compose([step for step, name in zip(steps, names, strict=True) if name.startswith('Load')])


def _check_box(loaded: Loaded, where: str, number: int, item: dict, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box = item['bbox']
    inside = min(min(x2, size[0]) - max(x1, 0), min(y2, size[1]) - max(y1, 0))
    if not np.isfinite(box).all() or inside <= 0:  # its loss is not finite
        trains = loaded.split == 'train' and not item.get('ignore_flag')
        hint = '; filter_cfg=dict(bbox_min_size=1) ignores boxes of no size' if trains else ''
        loaded.find('box of no size in the image', where, f'object {number}: {box}, image {size}{hint}', error=trains)


def _check_map(loaded: Loaded, path: str, numbers: np.ndarray, size: tuple[int, int]) -> None:
    if Path(path).read_bytes()[:2] == b'\xff\xd8':
        loaded.find('label map as JPEG', path, 'JPEG changes the numbers at edges; write PNG', error=False)
    if numbers.shape[::-1] != size:
        text = f'{numbers.shape}, its image {size[::-1]}; resize the map by nearest pixels, keep a number a pixel'
        loaded.find('label map of another size', path, text)
    found = np.bincount(numbers.ravel(), minlength=max(256, len(loaded.classes)))
    ignored = getattr(loaded.dataset, 'ignore_index', 255)
    if wrong := [int(i) for i in found.nonzero()[0] if i != ignored and i >= len(loaded.classes)]:
        loaded.find('label out of range', path, f'{wrong[:8]} of {len(loaded.classes)} classes')
    loaded.counts.update({name: int(found[i]) for i, name in enumerate(loaded.classes) if i != ignored})


def _check_classes(loaded: Loaded, first: Loaded) -> None:
    """Compares classes of the config, of the files and of the first split."""
    names, classes = loaded.names, loaded.classes
    if unknown := [f'{name!r} ({n})' for name, n in loaded.in_files.items() if name not in classes]:
        text = f'{", ".join(unknown[:20])} in the files are no classes of the config'
        if lost := [repr(name) for name in classes if not loaded.in_files[name]]:  # misspelt?
            text += f'; its classes {", ".join(lost[:20])} have no object there'
        loaded.find('classes differ', loaded.place, text, error=bool(lost))
    pairs = [(f'{first.split} set', names or classes, first.names or first.classes)]
    # Folders can have other names than the classes.
    pairs += [('config', names, classes)] * bool(loaded.coco.get('categories') or sorted(names) == sorted(classes))
    for where, mine, others in pairs:
        if mine != others:
            rows = enumerate(zip_longest(mine, others, fillvalue='nothing'))
            number, (one, two) = next((i, row) for i, row in rows if row[0] != row[1])
            text = f'label {number} is {one!r} here and {two!r} in the {where}; the library numbers as the files do'
            loaded.find('class numbers', loaded.place, text)


def _check_pipeline(loaded: Loaded, numbers: list[int], cfg: Config) -> None:
    """Sends the first images through the whole pipeline, and describes the numbers that reach the net."""
    config = (cfg.get('model') or {}).get('data_preprocessor') or cfg.get('data_preprocessor')
    try:
        loaded.dataset.pipeline = Compose(loaded.config.get('pipeline') or ())
        batches = [pseudo_collate([data]) for i in numbers if (data := loaded.dataset.prepare_data(i))]
        if loaded.split == 'train' and config and batches and 'inputs' in batches[0]:
            preprocessor = MODELS.build({'type': 'ClsDataPreprocessor', **config})
            pixels = torch.cat([preprocessor(batch)['inputs'].flatten() for batch in batches])
            low, mean, high = (f'{float(x):.2f}' for x in (pixels.min(), pixels.mean(), pixels.max()))
            loaded.net_input = f'; the net gets {low} to {high}, mean {mean}; weights want those of their training'
    except Exception as error:  # whatever a transform trips over
        loaded.find('pipeline fails', loaded.place, reason(error))


def _compare_sets(sets: list[Loaded], cfg: Config) -> None:
    """Looks for images of one id in two sets of a metric, and for classes with few objects in the training."""
    for split in ('val', 'test'):
        parts = [one for one in sets if one.split == split and 'VOCMetric' not in str(cfg.get(f'{split}_evaluator'))]
        ids = Counter(number for one in parts for number in {sample.get('img_id') for sample in one.samples} - {None})
        if twice := [str(number) for number, n in ids.items() if n > 1]:
            text = f'{len(twice)}: {", ".join(twice[:8])}'
            parts[0].find('images of one id in two sets', parts[0].place, text)
    train = [one for one in sets if one.split == 'train']
    counts = sum((one.counts for one in train), Counter())
    names = dict.fromkeys(name for one in train for name in one.classes)
    if few := [f'{name!r} {counts[name]}' for name in names if counts[name] < 0.001 * counts.total()]:
        train[0].find('rare classes', train[0].place, f'{", ".join(few[:20])}, of {counts.total()}', error=False)
