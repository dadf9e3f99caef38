"""Checks the data sets of a config for faults that would hurt a training."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS
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
        loaders, same, first = _loaders(loaded.config), list[str](), list[int]()
        for number, sample in enumerate(track(loaded.samples, loaded.split, transient=True, disable=not progress)):
            if (pixels := check_sample(loaded, sample, loaders)) is None:
                continue
            first += [number] * (len(first) < 4)
            image, digest = str(sample.get('img_path')), hashlib.blake2b(pixels.astype(np.uint8).tobytes()).digest()
            if loaded.split == 'train':
                trained[digest] = image
            elif digest in trained:
                same.append(f'{image} = {trained[digest]}')
        if same:
            loaded.find('images of train', loaded.place, f'{len(same)} images, such as {same[0]}', error=False)
        _check_classes(loaded, sets[0])
        _check_pipeline(loaded, first, cfg)
    _compare_sets(sets, cfg)
    return [finding for loaded in sets for finding in loaded.findings], sets


def check_sample(loaded: Loaded, sample: dict, loaders: list[Any]) -> np.ndarray | None:
    """Loads an image with its annotations; the faults become findings. Returns the image, or None if that fails."""
    results, problem = copy.deepcopy(sample), ''
    for loader in loaders:
        try:
            results = loader(results) or {}
        except Exception as error:  # whatever a transform trips over
            problem = f'{type(loader).__name__}: {reason(error)}'
            break
    image, mask = sample.get('img_path'), sample.get('seg_map_path')
    where = str(mask or sample.get('xml_path') or image)
    if 'img' not in results:
        kind, text = 'image unreadable' if Path(str(image)).exists() else 'image missing', why_unreadable(str(image))
        loaded.find(kind, image, text or problem or 'no transform Load... loads it', error=bool(text or problem))
    elif problem:
        loaded.find('annotation unreadable', where, (why_unreadable(mask) if mask else '') or problem)
    else:
        if isinstance(image, str) and (damage := why_unreadable(image)):
            loaded.find('image damaged', image, f'{damage}; older OpenCV fills the rest with grey', error=False)
        size = results['img'].shape[1], results['img'].shape[0]
        for number, item in enumerate(results.get('instances') or ()):
            _check_box(loaded, where, number, item, size)
        if mask and results.get('gt_seg_map') is not None:
            _check_map(loaded, mask, results['gt_seg_map'], size)
        return results['img']
    return None


def findings_table(findings: list[Finding], most: int = 3) -> Table:
    """A table of the findings, errors first: each kind of a split once, with its number and the first `most` files."""
    errors = sum(each.error for each in findings)
    table = Table(title=f'{errors} errors, {len(findings) - errors} warnings', title_justify='left')
    for name in ('', 'split', 'kind', 'number', 'where and what'):
        table.add_column(name, overflow='fold')
    groups: dict[tuple, list[str]] = {}
    for each in sorted(findings, key=lambda each: not each.error):
        group = 'error' if each.error else 'warning', each.split, each.kind
        groups.setdefault(group, []).append(f'{each.where}: {each.what}')
    for group, lines in groups.items():
        shown = lines[:most] + [f'and {len(lines) - most} more'] * (len(lines) > most)
        table.add_row(*group, str(len(lines)), escape('\n'.join(shown)))
    return table


def _loaders(config: dict) -> list[Any]:
    """The transforms of a pipeline that load images and annotations."""
    steps = config.get('pipeline') or [dict(type='LoadImageFromFile')]
    names = [str(getattr(step['type'], '__name__', step['type'])).rpartition('.')[2] for step in steps]
    chosen = [step for step, name in zip(steps, names, strict=True) if name.startswith('Load')]
    return [TRANSFORMS.build(copy.deepcopy(step)) for step in chosen]


def _check_box(loaded: Loaded, where: str, number: int, item: dict, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box = item['bbox']
    text = f'object {number}: {box}, image {size[0]}x{size[1]}'
    inside = min(min(x2, size[0]) - max(x1, 0), min(y2, size[1]) - max(y1, 0))
    if not np.isfinite(box).all() or inside <= 0:  # its loss is not finite
        trains = loaded.split == 'train' and not item.get('ignore_flag')
        text += '; filter_cfg=dict(bbox_min_size=1) ignores boxes of no size' if trains else ''
        loaded.find('box of no size in the image', where, text, error=trains)
    # VOC counts pixels from 1, and many tools from 0, so a pixel more is no fault.
    elif min(box) < -1 or x2 > size[0] + 1 or y2 > size[1] + 1:
        loaded.find('box outside the image', where, text, error=False)


def _check_map(loaded: Loaded, path: str, numbers: np.ndarray, size: tuple[int, int]) -> None:
    if Path(path).read_bytes()[:2] == b'\xff\xd8':
        loaded.find('label map as JPEG', path, 'JPEG changes the numbers at edges; write PNG', error=False)
    if numbers.ndim > 2:
        loaded.find('label map with colours', path, f'{numbers.shape[2]} channels; a map has one number a pixel')
        return
    if numbers.shape[::-1] != size:
        text = f'{numbers.shape[1]}x{numbers.shape[0]}, its image {size[0]}x{size[1]}; resize the map by nearest pixels'
        loaded.find('label map of another size', path, text)
    found, ignored = np.bincount(numbers.ravel(), minlength=256), getattr(loaded.dataset, 'ignore_index', 255)
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
    pairs = [(f'files of {first.split}', names or first.names, first.names or names)]
    pairs += [(f'config of {first.split}', classes or first.classes, first.classes or classes)]
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
            loaded.net_input = f'the net gets {low} to {high}, on average {mean}; weights want those of their training'
    except Exception as error:  # whatever a transform trips over
        loaded.find('pipeline fails', loaded.place, reason(error))


def _compare_sets(sets: list[Loaded], cfg: Config) -> None:
    """Looks for ids that occur twice in a file or to a metric, and for classes with few objects in the training."""
    keys = [(one, key) for one in sets for key in ('images', 'annotations')]
    ids = [(one, f'{key} of one id', [item.get('id') for item in one.coco.get(key) or ()]) for one, key in keys]
    for split in ('val', 'test'):
        parts = [one for one in sets if one.split == split]
        if parts and 'VOCMetric' not in str(cfg.get(f'{split}_evaluator')):
            found = [number for one in parts for number in {sample.get('img_id') for sample in one.samples}]
            ids.append((parts[0], 'images of one id in two sets', found))
    for one, kind, numbers in ids:
        if twice := [str(number) for number, n in Counter(numbers).items() if n > 1 and number is not None]:
            one.find(kind, one.place, f'{len(twice)}: {", ".join(twice[:8])}')
    train = [one for one in sets if one.split == 'train']
    counts = sum((one.counts for one in train), Counter())
    names = dict.fromkeys(name for one in train for name in one.classes)
    if few := [f'{name!r} {counts[name]}' for name in names if counts[name] < 0.001 * counts.total()]:
        train[0].find('rare classes', train[0].place, f'{", ".join(few[:20])}, of {counts.total()}', error=False)
