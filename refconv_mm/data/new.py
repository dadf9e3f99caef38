"""`refconv new`: configs for a folder of data, with all that depends on the data and the machine filled in."""

from __future__ import annotations

import os
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ..files.errors import DataError
from ..files.writing import check_free, write_text
from ..openmmlab.image_size import ssdlite_anchors
from . import templates
from .images import image_size
from .layouts import Layout, detect_layout
from .loading import Loaded, load_sets

SCOPES = {'detection': 'mmdet', 'segmentation': 'mmseg', 'classification': 'mmpretrain'}
# Batch size, and the learning rates of the baseline and of what follows it (docs/replication.md).
RATES = {'detection': (8, 0.02, 0.005), 'segmentation': (4, 0.005, 0.005), 'classification': (32, 0.2, 0.04)}
EPOCHS, LEAST, MOST = 20, 600, {'cpu': 3000, 'cuda': 30000}  # of the baseline, in steps but for the first


def write_configs(
    folder: Path, out: Path, force: bool = False, size: int | None = None, layout: str | None = None,
    mask_values: Sequence[int] | None = None,
) -> tuple[list[Path], list[str]]:  # fmt: skip
    """Writes configs for a folder of data: baseline, control and refocused; and what no library reads, converted.

    `size` is the side of what the net gets; `layout` and `mask_values` are those of
    :func:`refconv_mm.data.layouts.detect_layout`, which raises, too.
    Returns the files, and what was found, in lines; raises FileExistsError if a config would be overwritten.
    """
    out = out.resolve()
    found = detect_layout(folder, out, layout, mask_values)
    check_free(out, (*templates.FILES, *found.files), force)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in found.files.items():
        write_text(out / name, content) if isinstance(content, str) else content(out / name)
    sets = load_sets(sets_config(found))
    said = [f'{found.name} layout, {found.task}', *(loaded.describe() for loaded in sets), *found.said]
    values = values_of(found, sets[0], out, size, said)
    for name, text in templates.FILES.items():
        write_text(out / name, text.format(**values))
    Config.fromfile(out / 'refocused.py')  # and those that it is based on
    return [out / name for name in (*templates.FILES, *found.files)], said


def sets_config(layout: Layout) -> Config:
    """The data sets of a layout as a config."""
    loaders = {f'{split}_dataloader': dict(dataset=layout.dataset(split)) for split in ('train', 'val', 'test')}
    return Config(dict(default_scope=SCOPES[layout.task], **loaders))


def median_size(layout: Layout, train: Loaded) -> tuple[int, int]:
    """The medians of the width and the height of the images."""
    chosen = train.samples[:: len(train.samples) // 500 + 1]
    sizes = [size for sample in chosen if (size := image_size(sample['img_path']))]
    if not sizes or not (train.counts or layout.task == 'segmentation'):
        first = ''.join(f'. {each.where}: {each.what}' for each in train.findings[:1])
        raise DataError(f'{layout.root}: no image or no object of the train split can be read{first}')
    return int(statistics.median(w for w, _ in sizes)), int(statistics.median(h for _, h in sizes))


def size_for(task: str, width: int, height: int, device: str) -> tuple[int, int]:
    """Height and width of what the net gets, from those of the images."""
    side = {'detection': 320, 'segmentation': 256 if device == 'cpu' else 512, 'classification': 224}[task]
    height, width = (max(64, round(x * min(1, side / max(width, height)) / 32) * 32) for x in (height, width))
    return (height, width) if task == 'segmentation' else (max(height, width), max(height, width))


def values_of(layout: Layout, train: Loaded, out: Path, side: int | None, said: list[str]) -> dict[str, Any]:
    """What the templates are filled with."""
    device, task = 'cuda' if torch.cuda.is_available() else 'cpu', layout.task
    width, height = median_size(layout, train)
    size = (side, side) if side else size_for(task, width, height, device)
    batch, rate, tuned = RATES[task]
    steps = min(max(EPOCHS * len(train.samples) // batch, LEAST), MOST[device])
    net = dict(count=len(layout.classes), anchors=arguments(ssdlite_anchors(size[0])))
    return dict(
        here=shlex.quote(str(out)),
        runs={name: f'{out}/runs/{name}' for name in ('baseline', 'control', 'refocused')},
        found='\n# '.join(line.replace('\n', ' ') for line in said),
        root=f'{layout.root}/',
        classes=layout.classes,
        size=size,
        median=f'{width}x{height}',
        base=templates.BASES[task],
        net=templates.NETS[task].format(**net),
        pipelines=pipelines(task),
        loaders=''.join(loader(layout, split, batch) for split in ('train', 'val', 'test')),
        clip='dict(max_norm=35, norm_type=2)' if task == 'detection' else None,
        steps=steps,
        more=steps // 3,
        rate=rate,
        tuned=tuned,
    )


def pipelines(task: str) -> str:
    """The text of the pipelines of the library's config, at another size."""
    whole, text = Config.fromstring(f'_base_ = {templates.BASES[task]!r}', '.py'), ''
    sides = dict(crop_size='size', scale='size[0]' if task == 'classification' else 'scale')
    for name in ('train_pipeline', 'test_pipeline'):
        text += f'{name} = [\n'
        for step in whole[name]:
            values = {key: value for key, value in step.items() if key not in ('_scope_', 'backend_args')}
            values |= templates.CHANGES.get(step['type'], {})
            said = [f'{key}={sides.get(key) or repr(value)}' for key, value in values.items()]
            text += f'    dict({", ".join(said)}),\n'
        text += ']\n'
    return text


def arguments(values: dict[str, Any]) -> str:
    """Keyword arguments as Python."""
    return ', '.join(f'{key}={value!r}' for key, value in values.items())


def loader(layout: Layout, split: str, batch: int) -> str:
    """The text of the data loader and the evaluator of a split."""
    own = {key: value for key, value in layout.dataset(split).items() if key not in ('data_root', 'metainfo')}
    options = dict(split=split, set=arguments(own), workers=max(1, min(4, (os.cpu_count() or 2) // 2)))
    if split == 'train':
        return templates.LOADER.format(sampler='Infinite', shuffle=True, pipeline='train', batch=batch, **options)
    metric = templates.METRICS[layout.task]
    if own['type'] == 'CocoDataset':
        metric = f"type='CocoMetric', ann_file={os.path.join(layout.root, own['ann_file'])!r}, metric='bbox'"
    text = templates.LOADER.format(sampler='Default', shuffle=False, pipeline='test', batch=1, **options)
    return text + f'{split}_evaluator = dict(_delete_=True, {metric})\n'
