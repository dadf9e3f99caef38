"""Checks the data sets of a config for faults that would hurt a training."""

from __future__ import annotations

import copy
import hashlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from .classes import class_findings
from .images import IMAGES, images_in, why_unreadable
from .loading import Finding, Loaded, load_sets, reason, sides

LOSSY = ('.jpg', '.jpeg')


def check_config(cfg: Config, progress: bool = False) -> tuple[list[Finding], list[Loaded]]:
    """Loads every image and annotation of the train, val and test sets as a training does.

    Args:
        cfg: any mmdet, mmseg or mmpretrain config; only its data loaders are used.
        progress: show a progress bar.

    Returns:
        The findings, and the data sets with their counts.

    Raises:
        ValueError: as :func:`refconv_mm.data.loading.load_sets`.
    """
    sets = load_sets(cfg)
    contents: list[dict[str, str]] = []
    for loaded in sets:
        loaders, contents = _loaders(loaded.config), [*contents, {}]
        for sample in track(loaded.samples, f'{loaded.split:>5}', transient=True) if progress else loaded.samples:
            check_sample(loaded, sample, loaders, contents[-1])
        _check_lists(loaded)
    findings = [finding for loaded in sets for finding in loaded.findings]
    return findings + class_findings(sets) + _shared_images(sets, contents), sets


def check_sample(loaded: Loaded, sample: dict, loaders: list[Any], contents: dict[str, str]) -> None:
    """Loads an image with its annotations; the faults become findings.

    Args:
        sample: its description by the data set.
        loaders: the transforms of the config's pipeline that load.
        contents: gets the digest of the image, with its path.
    """
    image = str(sample['img_path'])
    if problem := why_unreadable(image):
        others = [path.suffix for path in Path(image).parent.glob(f'{Path(image).stem}.*') if path.suffix in IMAGES]
        if Path(image).exists() or not others:
            loaded.find('image unreadable' if Path(image).exists() else 'image missing', image, problem)
        else:
            text = f"the data set's class wants {Path(image).suffix}, the file ends with {others[0]}"
            loaded.find('image of another suffix', image, text)
        return
    contents.setdefault(hashlib.blake2b(Path(image).read_bytes()).hexdigest(), image)
    results: Any = copy.deepcopy(sample)
    for loader in loaders:
        try:
            results = loader(results) or {}
        except Exception as error:  # whatever a transform trips over
            kind, where = _loading_fault(sample, results, error)
            loaded.find(kind, where, reason(error) if kind != 'label map unreadable' else why_unreadable(where))
            break
    if results.get('img') is None:
        return
    size = results['img'].shape[1], results['img'].shape[0]
    if (said := (sample.get('width'), sample.get('height'))) not in ((None, None), size):
        text = f'it says {said[0]}x{said[1]}, the image has {size[0]}x{size[1]} (after its EXIF rotation)'
        loaded.find('annotation of another size', sample.get('xml_path') or image, text)
    for number, item in enumerate(sample.get('instances') or ()):
        _check_box(loaded, sample, f'object {number}', item, size)
    if 'gt_label' in sample and loaded.classes:
        wrong = [label for label in np.atleast_1d(sample['gt_label']) if not 0 <= label < len(loaded.classes)]
        if wrong:
            loaded.find('label id out of range', image, f'{wrong[0]} of {len(loaded.classes)} classes')
    if results.get('gt_seg_map') is not None and sample.get('seg_map_path'):
        _check_map(loaded, sample['seg_map_path'], results['gt_seg_map'], size)


def findings_table(findings: list[Finding], most: int = 3) -> Table:
    """A table of the findings: each kind of a split once, with its number and the first `most` files."""
    table = Table(title=f'{len(findings)} findings', title_justify='left')
    for name in ('split', 'kind', 'number', 'where and what'):
        table.add_column(name, overflow='fold')
    for (split, kind), number in Counter((each.split, each.kind) for each in findings).items():
        same = [each for each in findings if (each.split, each.kind) == (split, kind)]
        lines = [f'{each.where}: {each.what}'.removesuffix(': ').removeprefix(': ') for each in same[:most]]
        lines += [f'and {number - most} more'] * (number > most)
        table.add_row(split, kind, str(number), escape('\n'.join(lines)))
    return table


def _loaders(config: dict) -> list[Any]:
    """The transforms of a pipeline that load images and annotations."""
    steps = config.get('pipeline') or ()
    names = [str(getattr(step['type'], '__name__', step['type'])).rpartition('.')[2] for step in steps]
    chosen = [step for step, name in zip(steps, names, strict=True) if name.startswith('Load')]
    return [TRANSFORMS.build(copy.deepcopy(step)) for step in chosen or [dict(type='LoadImageFromFile')]]


def _loading_fault(sample: dict, results: dict, error: Exception) -> tuple[str, str]:
    """The kind and the file of a fault that a loading transform met."""
    mask = sample.get('seg_map_path')
    if results.get('img') is None:
        return 'image unreadable', str(sample['img_path'])
    if mask and not Path(mask).exists():
        return 'label map missing', str(mask)
    if mask and why_unreadable(mask):
        return 'label map unreadable', str(mask)
    kind = 'box without a mask' if isinstance(error, KeyError) and 'mask' in str(error) else 'annotation unreadable'
    return kind, str(sample.get('xml_path') or sample['img_path'])


def _check_box(loaded: Loaded, sample: dict, name: str, item: dict, size: tuple[int, int]) -> None:
    where, box = sample.get('xml_path') or sample['img_path'], item['bbox']
    if not all(math.isfinite(value) for value in box):
        loaded.find('box unreadable', where, f'{name}: {box}')
        return
    text = f'{name}: ({box[0]:g}, {box[1]:g}) to ({box[2]:g}, {box[3]:g})'
    if min(sides(box)) < 0:
        loaded.find('box inverted', where, text)
    elif min(sides(box)) == 0 and loaded.split == 'train' and not loaded.smallest:
        loaded.find('box of no size', where, f'{text}; filter_cfg=dict(bbox_min_size=1) ignores it in a training')
    # VOC counts pixels from 1, and many tools from 0, so a pixel more is no fault.
    elif min(box) < -1 or box[2] > size[0] + 1 or box[3] > size[1] + 1:
        loaded.find('box outside the image', where, f'{text}, image {size[0]}x{size[1]}')


def _check_map(loaded: Loaded, path: str, numbers: np.ndarray, size: tuple[int, int]) -> None:
    if Path(path).suffix.lower() in LOSSY:
        loaded.find('label map as JPEG', path, 'JPEG changes the numbers at edges; write the maps as PNG')
    if numbers.ndim > 2:
        loaded.find('label map with colours', path, f'{numbers.shape[2]} channels; a map has one number a pixel')
        return
    if numbers.shape[::-1] != size:
        text = (
            f'{numbers.shape[1]}x{numbers.shape[0]}, its image {size[0]}x{size[1]}; resize the map with '
            'Image.Resampling.NEAREST'
        )
        loaded.find('label map of another size', path, text)
    found, ignored = np.bincount(numbers.ravel(), minlength=256), getattr(loaded.dataset, 'ignore_index', 255)
    wrong = [int(i) for i in found.nonzero()[0] if i != ignored and i >= len(loaded.classes)]
    if wrong:
        loaded.find('label id out of range', path, f'{wrong[:8]} of {len(loaded.classes)} classes')
    loaded.counts.update({name: int(found[i]) for i, name in enumerate(loaded.classes) if i != ignored})


def _check_lists(loaded: Loaded) -> None:
    """Compares the samples with the files, and the ids of a COCO file with each other."""
    paths = Counter(str(sample['img_path']) for sample in loaded.samples)
    for image, number in paths.items():
        if number > 1:
            loaded.find('listed twice', image, f'{number} times')
    prefix = getattr(loaded.dataset, 'data_prefix', None) or {}
    if hasattr(loaded.dataset, 'COCOAPI') or hasattr(loaded.dataset, 'ann_subdir') or loaded.config.get('ann_file'):
        folders: list[tuple[str, str, set[str]]] = []
    else:
        maps = {str(sample.get('seg_map_path')) for sample in loaded.samples}
        folders = [('img_path', 'image left out', set(paths)), ('seg_map_path', 'label map without an image', maps)]
    for key, kind, used in folders:
        suffix = getattr(loaded.dataset, 'seg_map_suffix', '') if key == 'seg_map_path' else ''
        for path in images_in(Path(prefix[key]), True) if prefix.get(key) else ():
            if path.name.endswith(suffix) and str(path) not in used:
                loaded.find(kind, path, f'{path.suffix} is none of the suffixes that are read' if not suffix else '')
    notes, images = loaded.coco.get('annotations') or (), {item['id'] for item in loaded.coco.get('images') or ()}
    for what, items in (('annotation', notes), ('image', loaded.coco.get('images') or ())):
        if twice := [str(number) for number, n in Counter(item['id'] for item in items).items() if n > 1]:
            loaded.find(f'{what} ids that occur twice', loaded.place, f'{len(twice)}: {", ".join(twice[:8])}')
    if lost := [str(note['id']) for note in notes if note['image_id'] not in images]:
        loaded.find('annotation without an image', loaded.place, f'{len(lost)}: {", ".join(lost[:8])}')


def _shared_images(sets: list[Loaded], contents: list[dict[str, str]]) -> list[Finding]:
    """Images of the training that other splits have too, by their content."""
    train = {key: path for each, found in zip(sets, contents, strict=True) if each.split == 'train'
             for key, path in found.items()}  # fmt: skip
    findings = []
    for loaded, found in zip(sets, contents, strict=True):
        same = [(path, train[key]) for key, path in found.items() if key in train]
        if same and loaded.split != 'train':
            text = f'{len(same)} images are also in train, such as {same[0][0]} = {same[0][1]}'
            findings.append(Finding(loaded.split, 'images of train', loaded.place, text))
    return findings
