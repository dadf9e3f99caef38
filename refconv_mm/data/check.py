"""Checks the data sets of a config for faults that would hurt a training."""

from __future__ import annotations

import copy
import hashlib
import math
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
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
    trained: dict[str, str] = {}  # the images of the training by the digest of their files
    for loaded in sets:
        loaders, same = _loaders(loaded.config), []
        for sample in track(loaded.samples, f'{loaded.split:>5}', transient=True, disable=not progress):
            image = str(sample['img_path'])
            if not check_sample(loaded, sample, loaders):
                continue
            digest = hashlib.blake2b(Path(image).read_bytes()).hexdigest()
            if loaded.split == 'train':
                trained[digest] = image
            elif digest in trained:
                same.append(f'{image} = {trained[digest]}')
        if same:
            loaded.find('images of train', loaded.place, f'{len(same)} images are also in train, such as {same[0]}')
        _check_lists(loaded, sets[0])
    train = [loaded for loaded in sets if loaded.split == 'train' and loaded.samples]
    names = dict.fromkeys(name for loaded in train for name in loaded.classes)
    if absent := [name for name in names if not any(loaded.counts[name] for loaded in train)]:
        train[0].find('class without an object', train[0].place, ', '.join(absent))
    return [finding for loaded in sets for finding in loaded.findings], sets


def check_sample(loaded: Loaded, sample: dict, loaders: list[Any]) -> bool:
    """Loads an image with its annotations; the faults become findings. Returns whether the image can be read."""
    image = str(sample['img_path'])
    if problem := why_unreadable(image):
        loaded.find('image unreadable' if Path(image).exists() else 'image missing', image, problem)
        return False
    results, mask = copy.deepcopy(sample), sample.get('seg_map_path')
    where = str(mask or sample.get('xml_path') or image)
    for loader in loaders:
        try:
            results = loader(results) or {}
        except Exception as error:  # whatever a transform trips over
            loaded.find('annotation unreadable', where, (why_unreadable(mask) if mask else '') or reason(error))
            break
    if results.get('img') is None:
        return True
    size = results['img'].shape[1], results['img'].shape[0]
    for number, item in enumerate(sample.get('instances') or ()):
        _check_box(loaded, where, f'object {number}', item['bbox'], size)
    if mask and results.get('gt_seg_map') is not None:
        _check_map(loaded, mask, results['gt_seg_map'], size)
    return True


def findings_table(findings: list[Finding], most: int = 3) -> Table:
    """A table of the findings: each kind of a split once, with its number and the first `most` files."""
    table = Table(title=f'{len(findings)} findings', title_justify='left')
    for name in ('split', 'kind', 'number', 'where and what'):
        table.add_column(name, overflow='fold')
    for (split, kind), number in Counter((each.split, each.kind) for each in findings).items():
        same = [each for each in findings if (each.split, each.kind) == (split, kind)]
        lines = [f'{each.where}: {each.what}'.removesuffix(': ') for each in same[:most]]
        lines += [f'and {number - most} more'] * (number > most)
        table.add_row(split, kind, str(number), escape('\n'.join(lines)))
    return table


def _loaders(config: dict) -> list[Any]:
    """The transforms of a pipeline that load images and annotations."""
    steps = config.get('pipeline') or ()
    names = [str(getattr(step['type'], '__name__', step['type'])).rpartition('.')[2] for step in steps]
    chosen = [step for step, name in zip(steps, names, strict=True) if name.startswith('Load')]
    return [TRANSFORMS.build(copy.deepcopy(step)) for step in chosen or [dict(type='LoadImageFromFile')]]


def _check_box(loaded: Loaded, where: str, name: str, box: list[float], size: tuple[int, int]) -> None:
    text = f'{name}: {box}, image {size[0]}x{size[1]}'
    shorter, ignored = (
        min(box[2] - box[0], box[3] - box[1]),
        (loaded.config.get('filter_cfg') or {}).get('bbox_min_size'),
    )
    if not all(map(math.isfinite, box)) or shorter < 0:
        loaded.find('box inverted or without numbers', where, text)
    elif shorter == 0 and loaded.split == 'train' and not ignored:
        loaded.find('box of no size', where, f'{text}; filter_cfg=dict(bbox_min_size=1) ignores it in a training')
    # VOC counts pixels from 1, and many tools from 0, so a pixel more is no fault.
    elif min(box) < -1 or box[2] > size[0] + 1 or box[3] > size[1] + 1:
        loaded.find('box outside the image', where, text)


def _check_map(loaded: Loaded, path: str, numbers: np.ndarray, size: tuple[int, int]) -> None:
    if Path(path).suffix.lower() in ('.jpg', '.jpeg'):
        loaded.find('label map as JPEG', path, 'JPEG changes the numbers at edges; write the maps as PNG')
    if numbers.ndim > 2:
        loaded.find('label map with colours', path, f'{numbers.shape[2]} channels; a map has one number a pixel')
        return
    if numbers.shape[::-1] != size:
        text = f'{numbers.shape[1]}x{numbers.shape[0]}, its image {size[0]}x{size[1]}; resize the map by nearest pixels'
        loaded.find('label map of another size', path, text)
    found, ignored = np.bincount(numbers.ravel(), minlength=256), getattr(loaded.dataset, 'ignore_index', 255)
    wrong = [int(i) for i in found.nonzero()[0] if i != ignored and i >= len(loaded.classes)]
    if wrong:
        loaded.find('label id out of range', path, f'{wrong[:8]} of {len(loaded.classes)} classes')
    loaded.counts.update({name: int(found[i]) for i, name in enumerate(loaded.classes) if i != ignored})


def _check_lists(loaded: Loaded, first: Loaded) -> None:
    """Compares ids of a COCO file, and classes of the config, of the files and of the first split."""
    ids = Counter(note['id'] for note in loaded.coco.get('annotations') or ())
    if twice := [str(number) for number, n in ids.items() if n > 1]:
        loaded.find('annotation ids that occur twice', loaded.place, f'{len(twice)}: {", ".join(twice[:8])}')
    names, classes = loaded.names, loaded.classes
    if unknown := [f'{name} ({n})' for name, n in loaded.in_files.items() if name not in classes]:
        text = f'the data has {", ".join(unknown[:20])}; your classes are {", ".join(classes[:20])}'
        loaded.find('classes differ', loaded.place, text)
    pairs = [(f'files of {first.split}', names, first.names), (f'config of {first.split}', classes, first.classes)]
    if loaded.coco or sorted(names) == sorted(classes):  # folders can have other names than the classes
        pairs.append(('config', names, classes))
    for where, mine, others in pairs:
        if mine and others and mine != others:
            rows = enumerate(zip_longest(mine, others, fillvalue='nothing'))
            number, (one, two) = next((i, row) for i, row in rows if row[0] != row[1])
            text = f'label {number} is {one!r} here and {two!r} in the {where}; the library numbers as the files do'
            loaded.find('class numbers', loaded.place, text)
