"""`refconv new`: configs for a folder of data, with all that depends on the data and the machine filled in."""

from __future__ import annotations

import shlex
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS

from ..checkpoints.fusing import read_checkpoint
from ..files.errors import DataError
from ..files.writing import check_free, write_text
from ..openmmlab.models import build_model
from .images import image_size
from .layouts import Layout, detect_layout
from .loading import Loaded, load_sets, reason

FILES = ('baseline.py', 'control.py', 'refocused.py')
EPOCHS, MOST = 20, {'cpu': 3000, 'cuda': 30000}  # of the baseline; the most steps
PACKAGE = Path(__file__).parents[1]
# The configs that are filled in: they travel inside a wheel, and lie beside the package in a clone.
TEMPLATES = next(path for path in (PACKAGE / '.mim', PACKAGE.parent) if path.is_dir()) / 'configs/_base_/new'


def write_configs(
    folder: Path, out: Path, force: bool = False, size: int | None = None, layout: str | None = None,
    mask_values: Sequence[int] | None = None, weights: str | None = None,
) -> tuple[list[Path], list[str]]:  # fmt: skip
    """Writes configs for a folder of data: baseline, control and refocused; and what no library reads, converted.

    `size` is the longer side of what the net gets, and `weights` a checkpoint of the net or of its ImageNet backbone;
    `layout` and `mask_values` are those of :func:`refconv_mm.data.layouts.detect_layout`, which raises, too.
    Returns the files, and what was found, in lines; raises FileExistsError if a config would be overwritten.
    """
    out = out.resolve()
    found = detect_layout(folder, out, layout, mask_values)
    check_free(out, (*FILES, *found.files), force)
    values = values_of_data(found) | values_of_weights(weights)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in found.files.items():
        write_text(out / name, content) if isinstance(content, str) else content(out / name)
    cfg = Config.fromstring(filled(found.task, values), '.py')
    sets = load_sets(cfg)
    try:
        values |= values_of_images(found, sets[0], cfg, size)
    except DataError:
        for name in found.files:  # else they would be in the way after the data are mended
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
        raise
    for name, template, own in zip(FILES, (found.task, 'control', 'refocused'), (values, {}, {}), strict=True):
        text = filled(template, dict(own, work_dir=f'{out}/runs/{name.removesuffix(".py")}'))
        write_text(out / name, f'# refconv train {shlex.quote(str(out / name))}\n#\n{text}')
    Config.fromfile(out / 'refocused.py')  # and those that it is based on: what cannot be read is not reported as done
    said = [f'{found.name} layout, {found.task}', *(loaded.describe() for loaded in sets), *found.said]
    said.append(f'weights: {cfg.load_from} ({cfg.about_weights})')
    return [out / name for name in (*FILES, *found.files)], said


def filled(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template whose lines `name = ...` have other values."""
    lines = (TEMPLATES / f'{template}.py').read_text(encoding='utf-8').splitlines()
    names = [line.partition(' = ')[0] for line in lines]
    new = [f'{name} = {values[name]!r}' if name in values else line for name, line in zip(names, lines, strict=True)]
    return '\n'.join([*new, ''])


def values_of_weights(weights: str | None) -> dict[str, Any]:
    """The start of a baseline: of a checkpoint of the net or of its ImageNet backbone, else as in the template."""
    if weights is None:
        return {}
    start = str(Path(weights).resolve())
    values: dict[str, Any] = dict(load_from=start, about_weights='mean and std must be those of its training')
    if not any('.depthwise_conv.' in key for key in read_checkpoint(start)['state_dict']):  # not mmdet's names
        values['backbone'] = dict(type='mmpretrain.MobileNetV2', norm_cfg=dict(eps=1e-5))
    return values


def values_of_data(layout: Layout) -> dict[str, Any]:
    """The data sets, their classes and their metrics; val and test stand for each other if one is missing."""
    values: dict[str, Any] = dict(data_root=f'{layout.root}/', classes=layout.classes)
    for split in ('train', 'val', 'test'):
        values[f'{split}_set'] = config = layout.sets.get(split) or layout.sets[{'val': 'test'}.get(split, 'val')]
        if config['type'] == 'CocoDataset':
            file = str(layout.root / config['ann_file'])
            values[f'{split}_evaluator'] = dict(_delete_=True, type='CocoMetric', ann_file=file, metric='bbox')
    return values


def values_of_images(layout: Layout, train: Loaded, cfg: Config, side: int | None) -> dict[str, Any]:
    """Height and width of what the net gets, multiples of 32 in the shape of the median image; and the steps."""
    device, is_maps = 'cuda' if torch.cuda.is_available() else 'cpu', layout.task == 'segmentation'
    chosen = train.samples[:: len(train.samples) // 500 + 1]
    sizes = [size for sample in chosen if (size := image_size(sample['img_path']))]
    if not sizes or not (train.counts or is_maps):
        first = ''.join(f'. {each.where}: {each.what}' for each in train.findings[:1])
        raise DataError(f'{layout.root}: no image or no object of the train split can be read{first}')
    width, height = (int(statistics.median(each)) for each in zip(*sizes, strict=True))
    most = 256 if is_maps and device == 'cpu' else max(cfg.size)
    scale = (side or min(most, max(width, height))) / max(width, height)
    high, wide = (max(64, round(x * scale / 32) * 32) for x in (height, width))
    size = (high, wide) if is_maps else (max(high, wide),) * 2
    steps = min(max(EPOCHS * len(train.samples) // cfg.train_dataloader.batch_size, cfg.steps), MOST[device])
    return dict(size=size, steps=steps, workers=min(4, torch.get_num_threads() // 2) or 1)


def expected_time(config: Path) -> str:
    """Times three steps of a written config on this machine, and says in a line how long its training will take."""
    cfg, start = Config.fromfile(config), 0.0
    try:
        model, dataset = build_model(cfg).train(), DATASETS.build(cfg.train_dataloader.dataset)
        model.to('cuda' if torch.cuda.is_available() else 'cpu')
        samples = pseudo_collate([dataset[i % len(dataset)] for i in range(cfg.train_dataloader.batch_size)])
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        for step in range(4):
            start = time.perf_counter() if step < 2 else start  # the first step is slower than the others
            model.train_step(samples, wrapper)['loss'].item()
    except Exception as error:  # whatever the libraries trip over in damaged data
        return f'the training cannot be timed: {reason(error)}'
    minutes = cfg.steps * (time.perf_counter() - start) / 3 / 60
    return f'about {minutes:.0f} minutes on this machine for the baseline, a third of them for each other run'
