"""`refconv new`: configs for a folder of data, with all that depends on the data and the machine filled in."""

from __future__ import annotations

import os
import shlex
import shutil
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
from .loading import Loaded, load_sets, sides

SCOPES = {'detection': 'mmdet', 'segmentation': 'mmseg', 'classification': 'mmpretrain'}
RATES = {'detection': (0.02, 0.005), 'segmentation': (0.01, 0.01), 'classification': (0.05, 0.01)}  # docs/results.md
KEPT = ('default_scope', 'model', 'env_cfg', 'vis_backends', 'visualizer', 'custom_hooks', 'val_cfg', 'test_cfg')
FILES = ('base.py', 'baseline.py', 'control.py', 'refocused.py')
MEASURED = 500  # images, at most
EPOCHS, LEAST, MOST = 20, 600, {'cpu': 3000, 'cuda': 30000}  # of the baseline, in steps but for the first


def write_configs(
    folder: Path, out: Path, task: str | None = None, force: bool = False, layout: str | None = None,
    mask_values: Sequence[int] | None = None, size: int | None = None,
) -> tuple[list[Path], list[str]]:  # fmt: skip
    """Writes configs for a folder of data: baseline, control and refocused; and what no library reads, converted.

    Args:
        folder: the data.
        out: the folder that gets the configs; they name the data and each other, and nothing of this package's files.
        task: that the data must be for, by default that of its layout; force: overwrite.
        layout, mask_values: as in :func:`refconv_mm.data.layouts.detect_layout`.
        size: the side of what the net gets; by default it follows from the data.

    Returns:
        The files, and what was found, in lines.

    Raises:
        FileNotFoundError, FileExistsError: no such folder, or a config would be overwritten.
        ValueError: the layout is unknown or for another task, or the data cannot be trained on.
    """
    out = out.resolve()
    found = detect_layout(folder, out, layout, mask_values)
    if task not in (None, found.task):
        raise DataError(f'{folder} is in the {found.name} layout, which is for {found.task}, not for {task}')
    check_free(out, (*FILES, *found.files), force)
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        for name, content in found.files.items():
            write_text(out / name, content) if isinstance(content, str) else content(out / name)
        sets = load_sets(sets_config(found))
        said = [f'{found.name} layout, {found.task}', *(loaded.describe() for loaded in sets), *found.said]
        for name, text in make_texts(found, sets[0], out, size, said).items():
            write_text(out / name, text)
        Config.fromfile(out / 'refocused.py')  # and those that it is based on
    except BaseException:
        if is_new:
            shutil.rmtree(out)
        raise
    return [out / name for name in (*FILES, *found.files)], said


def sets_config(layout: Layout) -> Config:
    """The data sets of a layout as a config."""
    loaders = {f'{split}_dataloader': dict(dataset=layout.dataset(split)) for split in ('train', 'val', 'test')}
    return Config(dict(default_scope=SCOPES[layout.task], **loaders))


def measure(layout: Layout, train: Loaded) -> tuple[int, int, list[float]]:
    """Measures the width and the height of the images (medians), and the shorter sides of the boxes relative to these.

    Raises:
        DataError: no image of the train split can be read, or no class has an object.
    """
    sizes = [
        size
        for sample in train.samples[:: len(train.samples) // MEASURED + 1]
        if (size := image_size(sample['img_path']))
    ]
    if not sizes or not (train.counts or layout.task == 'segmentation'):
        first = ''.join(f'. {each.where}: {each.what}' for each in train.findings[:1])
        raise DataError(f'{layout.root}: no image or no object of the train split can be read{first}')
    boxes = [(sides(item['bbox']), sample) for sample in train.samples for item in sample.get('instances') or ()]
    parts = [min(w / sample['width'], h / sample['height']) for (w, h), sample in boxes]
    width, height = (int(statistics.median(size[i] for size in sizes)) for i in (0, 1))
    return width, height, parts


def size_for(task: str, width: int, height: int, parts: list[float], device: str) -> tuple[int, int]:
    """Height and width of what the net gets, from the measures of the images and the boxes."""
    if task == 'detection':
        # The smallest at which most boxes are large enough for the finest anchors; a GPU can bear the usual size.
        many = device == 'cuda' or small_boxes(parts, 224) > 0.1
        return (320, 320) if many and max(width, height) > 224 else (224, 224)
    if task == 'classification':
        side = min(224, max(64, min(width, height) // 32 * 32))
        return side, side
    factor = min(1, (256 if device == 'cpu' else 512) / max(width, height))
    return max(64, round(height * factor / 32) * 32), max(64, round(width * factor / 32) * 32)


def small_boxes(parts: list[float], side: int) -> float:
    """The share of the boxes that are smaller than 16 pixels in images of a size."""
    return sum(part * side < 16 for part in parts) / max(1, len(parts))


def schedule(task: str, trained: int, size: tuple[int, int], device: str) -> dict[str, Any]:
    """Batch, steps and learning rates."""
    batch = 32 if task == 'classification' else 8 if size[0] * size[1] <= 320 * 320 else 4
    while batch > 2 and batch > trained:
        batch //= 2
    steps, (rate, tuned) = min(max(EPOCHS * trained // batch, LEAST), MOST[device]), RATES[task]
    values = dict(batch=batch, rate=rate * batch / 8, tuned=tuned * batch / 8, steps=steps, more=steps // 3)
    for prefix, number in (('', steps), ('more_', steps // 3)):
        values |= {f'{prefix}epochs': round(number * batch / trained, 1), f'{prefix}interval': number // 5,
                   f'{prefix}warmup': number // 10, f'{prefix}cosine': number - number // 10}  # fmt: skip
    return dict(values, logged=max(1, min(50, steps // 20)), workers=max(1, min(4, (os.cpu_count() or 2) // 2)))


def make_texts(layout: Layout, train: Loaded, out: Path, side: int | None, said: list[str]) -> dict[str, str]:
    """The text of every config, by name."""
    device, task = 'cuda' if torch.cuda.is_available() else 'cpu', layout.task
    width, height, parts = measure(layout, train)
    size = (side, side) if side else size_for(task, width, height, parts, device)
    anchors, small = arguments(ssdlite_anchors(size[0])), round(100 * small_boxes(parts, size[0]))
    values = schedule(task, len(train.samples), size, device)
    values.update(
        here=shlex.quote(str(out)), found='\n# '.join(line.replace('\n', ' ') for line in said), root=f'{layout.root}/',
        work_dir=f'{out}/runs/baseline', control_dir=f'{out}/runs/control', refocused_dir=f'{out}/runs/refocused',
        classes=layout.classes, size=size, median=f'{width}x{height}',
        model=templates.MODELS[task].format(count=len(layout.classes), small=small, anchors=anchors),
        train_pipeline=',\n    '.join(templates.PIPELINES[task]), test_pipeline=',\n    '.join(templates.TESTS[task]),
        clip='dict(max_norm=35, norm_type=2)' if task == 'detection' else None,
        loaders=''.join(loader(layout, split, values) for split in ('train', 'val', 'test')),
        val_evaluator=evaluator(layout, 'val'), test_evaluator=evaluator(layout, 'test'),
    )  # fmt: skip
    whole = Config.fromstring(templates.NETS[task].format(start=templates.START), '.py')
    base = '# The net and the runtime, as the library has them.\n'
    base += Config({key: whole[key] for key in KEPT if key in whole}).pretty_text
    texts = {'base.py': base, 'baseline.py': templates.BASELINE.format(**values)}
    return texts | {name: text.format(**values) for name, text in templates.OTHERS.items()}


def arguments(values: dict[str, Any]) -> str:
    """Keyword arguments as Python."""
    return ', '.join(f'{key}={value!r}' for key, value in values.items())


def loader(layout: Layout, split: str, values: dict[str, Any]) -> str:
    """The text of a data loader."""
    own = {key: value for key, value in layout.dataset(split).items() if key not in ('data_root', 'metainfo')}
    train = split == 'train'
    return templates.LOADER.format(
        split=split, batch=values['batch'] if train else 1, workers=values['workers'], set=arguments(own),
        shuffle=train, sampler='InfiniteSampler' if train else 'DefaultSampler', pipeline='train' if train else 'test',
        collate="\n    collate_fn=dict(type='default_collate')," if layout.task == 'classification' else '',
    )  # fmt: skip


def evaluator(layout: Layout, split: str) -> str:
    """The text of an evaluator."""
    if layout.task == 'segmentation':
        return "dict(type='IoUMetric', iou_metrics=['mIoU'])"
    if layout.task == 'classification':
        return "dict(type='Accuracy', topk=(1,))"
    config = layout.dataset(split)
    if config['type'] == 'VOCDataset':
        return "dict(type='VOCMetric', metric='mAP', eval_mode='area', iou_thrs=[0.5, 0.75])"
    return f"dict(type='CocoMetric', ann_file={os.path.join(layout.root, config['ann_file'])!r}, metric='bbox')"
