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
from mmengine.hub import get_config

from ..checkpoints.fusing import read_checkpoint
from ..files.errors import DataError
from ..files.writing import check_free, write_text
from . import templates
from .images import image_size
from .layouts import Layout, detect_layout
from .loading import Loaded, load_sets

# Batch size, the learning rates of the baseline and of what follows it (docs/replication.md), and the fewest steps.
RATES = {
    'detection': (8, 0.02, 0.005, 1200),
    'segmentation': (4, 0.005, 0.005, 600),
    'classification': (32, 0.2, 0.04, 600),
}
EPOCHS, MOST = 20, {'cpu': 3000, 'cuda': 30000}  # of the baseline; the most steps


def write_configs(
    folder: Path, out: Path, force: bool = False, size: int | None = None, layout: str | None = None,
    mask_values: Sequence[int] | None = None, weights: str | None = None,
) -> tuple[list[Path], list[str]]:  # fmt: skip
    """Writes configs for a folder of data: baseline, control and refocused; and what no library reads, converted.

    `size` is the longer side of what the net gets, `weights` that of :func:`find_weights`; `layout` and `mask_values`
    are those of :func:`refconv_mm.data.layouts.detect_layout`, which raises, too.
    Returns the files, and what was found, in lines; raises FileExistsError if a config would be overwritten.
    """
    out = out.resolve()
    found = detect_layout(folder, out, layout, mask_values)
    check_free(out, (*templates.FILES, *found.files), force)
    start, about, backbone = find_weights(found.task, weights)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in found.files.items():
        write_text(out / name, content) if isinstance(content, str) else content(out / name)
    sets = load_sets(sets_config(found))
    said = [f'{found.name} layout, {found.task}', *(loaded.describe() for loaded in sets), *found.said, about]
    values = values_of(found, sets[0], out, size)
    values |= dict(weights=start, found='\n# '.join(line.replace('\n', ' ') for line in said))
    values['net'] = templates.NETS[found.task].format(backbone=backbone)
    for name, text in templates.FILES.items():
        write_text(out / name, text.format(**values))
    Config.fromfile(out / 'refocused.py')  # and those that it is based on: what cannot be read is not reported as done
    return [out / name for name in (*templates.FILES, *found.files)], said


def find_weights(task: str, weights: str | None) -> tuple[str, str, str]:
    """The checkpoint of a baseline, a line about it, and the detector's backbone that has its names of parameters.

    `weights` is a file of the whole net or of the ImageNet backbone, `'imagenet'`, or None for the net's own in the
    library's model zoo. A URL is that of the library's metafile; whether it still answers was not tried.
    """
    if weights in (None, 'imagenet'):
        source = 'classification' if weights else task
        start, own = get_config(templates.BASES[source], pretrained=True).model_path, not weights
        file = f'{start.rpartition("/")[2]} ({templates.WEIGHTS[source]})'
        about = f'weights: {file}, which the training fetches once from {start}'
    else:
        start = str(Path(str(weights)).resolve())
        own = any('.depthwise_conv.' in key for key in read_checkpoint(start)['state_dict'])
        about = f'weights: {start}; mean and std in baseline.py must be those of its training'
    return start, about, '' if own or task != 'detection' else templates.IMAGENET_BACKBONE


def sets_config(layout: Layout) -> Config:
    """The data sets of a layout as a config."""
    loaders = {f'{split}_dataloader': dict(dataset=layout.dataset(split)) for split in ('train', 'val', 'test')}
    return Config(dict(default_scope=templates.BASES[layout.task].partition('::')[0], **loaders))


def size_for(layout: Layout, train: Loaded, side: int | None, device: str) -> tuple[int, int]:
    """Height and width of what the net gets, multiples of 32, in the shape that the images have in the median."""
    chosen = train.samples[:: len(train.samples) // 500 + 1]
    sizes = [size for sample in chosen if (size := image_size(sample['img_path']))]
    if not sizes or not (train.counts or layout.task == 'segmentation'):
        first = ''.join(f'. {each.where}: {each.what}' for each in train.findings[:1])
        raise DataError(f'{layout.root}: no image or no object of the train split can be read{first}')
    width, height = (int(statistics.median(each)) for each in zip(*sizes, strict=True))
    most = {'detection': 320, 'segmentation': 256 if device == 'cpu' else 512, 'classification': 224}[layout.task]
    scale = (side or min(most, max(width, height))) / max(width, height)
    high, wide = (max(64, round(x * scale / 32) * 32) for x in (height, width))
    return (high, wide) if layout.task == 'segmentation' else (max(high, wide),) * 2


def values_of(layout: Layout, train: Loaded, out: Path, side: int | None) -> dict[str, Any]:
    """What the templates are filled with."""
    device, task = 'cuda' if torch.cuda.is_available() else 'cpu', layout.task
    batch, rate, tuned, least = RATES[task]
    return dict(
        here=shlex.quote(str(out)),
        runs={name: f'{out}/runs/{name}' for name in ('baseline', 'control', 'refocused')},
        root=f'{layout.root}/',
        classes=layout.classes,
        size=size_for(layout, train, side, device),
        base=templates.BASES[task],
        pipelines=pipelines(task),
        loaders=''.join(loader(layout, split, batch) for split in ('train', 'val', 'test')),
        clip='dict(max_norm=35, norm_type=2)' if task == 'detection' else None,
        steps=min(max(EPOCHS * len(train.samples) // batch, least), MOST[device]),
        rate=rate,
        tuned=tuned,
    )


def pipelines(task: str) -> str:
    """The text of the pipelines of the library's config, at another size."""
    whole, text = Config.fromstring(f'_base_ = {templates.BASES[task]!r}', '.py'), ''
    sides = dict(crop_size='size', scale='size[0]' if task == 'classification' else 'scale', mean='mean')
    for name in ('train_pipeline', 'test_pipeline'):
        text += f'{name} = [\n'
        for step in whole[name]:
            values = {key: value for key, value in step.items() if key not in ('_scope_', 'backend_args')}
            values |= templates.CHANGES.get(step['type'], {})
            text += f'    dict({", ".join(f"{key}={sides.get(key) or repr(v)}" for key, v in values.items())}),\n'
        text += ']\n'
    return text


def loader(layout: Layout, split: str, batch: int) -> str:
    """The text of the data loader and the evaluator of a split."""
    own = {key: value for key, value in layout.dataset(split).items() if key not in ('data_root', 'metainfo')}
    text = ', '.join(f'{key}={value!r}' for key, value in own.items())
    options: dict[str, Any] = dict(split=split, set=text, workers=max(1, min(4, (os.cpu_count() or 2) // 2)))
    if split == 'train':
        return templates.LOADER.format(sampler='Infinite', shuffle=True, pipeline='train', batch=batch, **options)
    metric = templates.METRICS[layout.task]
    if own['type'] == 'CocoDataset':
        metric = f"type='CocoMetric', ann_file={os.path.join(layout.root, own['ann_file'])!r}, metric='bbox'"
    text = templates.LOADER.format(sampler='Default', shuffle=False, pipeline='test', batch=1, **options)
    return text + f'{split}_evaluator = dict(_delete_=True, {metric})\n'
