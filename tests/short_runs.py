"""Short runs of any shipped config: two steps on four small images in its layout, validated, fused and tested."""

from __future__ import annotations

import copy
import math
import re
import shutil
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from demo import SHAPES, make_cityscapes, make_voc
from lab.runs import name_run
from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.data.loading import leaves
from refconv_mm.openmmlab import image_size
from refconv_mm.running.runner import build_runner, runner_for_checkpoint
from refconv_mm.running.settings import set_init
from tests.conftest import random_checkpoint

SIZE = 64, 96


def make_data(cfg: Config, root: Path) -> Path:
    """Draws data in the layout of a config; returns the folder for its data_root."""
    leaf, *others = leaves(cfg.train_dataloader.dataset)
    if leaf['type'] == 'CityscapesDataset':
        return make_cityscapes(root, train=4, val=2, size=SIZE)
    if leaf['type'] == 'VOCDataset':
        voc = make_voc(root, train=4 // (1 + len(others)), test=2, size=96)
        classes = (leaf.get('metainfo') or {}).get('classes') or ('car', 'dog', 'person')
        for path in (voc / 'VOC2007/Annotations').iterdir():
            text = path.read_text()
            for shape, name in zip(SHAPES, classes, strict=False):
                text = text.replace(f'>{shape}<', f'>{name}<')
            path.write_text(text)
        shutil.copytree(voc / 'VOC2007', voc / 'VOC2012')
        return voc
    (root / 'meta').mkdir(parents=True)
    for split, count in (('train', 4), ('val', 2)):
        names = [f'{"ab"[i % 2]}/{i}.png' for i in range(count)]
        for name in names:
            (root / split / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.randint(0, 255, (72, 72, 3), np.uint8)).save(root / split / name)
        (root / f'meta/{split}.txt').write_text('\n'.join(f'{name} {i % 2}' for i, name in enumerate(names)))
    return root


def resized(pipeline: list[dict], size: tuple[int, int]) -> list[dict]:
    """A copy of a pipeline that resizes and crops to another height and width; a square crop gets the shorter side."""
    new = copy.deepcopy(list(pipeline))
    for node in image_size.transforms(new):
        key, form = image_size.KEYS[node['type'].rpartition('.')[2]]
        if node.get(key) is not None:
            node[key] = dict(wh=(size[1], size[0]), hw=tuple(size), side=min(size))[form]
    return new


def shorten(cfg: Config, work_dir: Path, data_root: Path) -> Config:
    """Two steps with small images, in this process; the config is changed in place and returned."""
    cfg.work_dir, cfg.log_level = str(work_dir), 'WARNING'
    name_run(cfg, work_dir.name)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.pop('times', None) is None or loader.dataset.update(times=1)
        for leaf in leaves(loader.dataset):
            leaf.update(pipeline=resized(leaf['pipeline'], SIZE), data_root=f'{data_root}/')
            leaf.pop('indices', None)
    if cfg.model.get('data_preprocessor', {}).get('size'):
        cfg.model.data_preprocessor.size = SIZE
    by_epoch = 'max_epochs' in cfg.train_cfg  # four images are two steps of an epoch
    cfg.train_cfg.update(dict(max_epochs=1, val_interval=1) if by_epoch else dict(max_iters=2, val_interval=2))
    cfg.default_hooks.checkpoint.update(interval=1 if by_epoch else 2, save_optimizer=False)
    return cfg


def train(cfg: Config, start: Path) -> Path:
    """Trains from a checkpoint, with validation; returns the last checkpoint."""
    set_init(cfg, str(start))
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2
    logged = runner.message_hub.log_scalars
    assert any(name.startswith('val/') for name in logged)  # it was validated
    assert math.isfinite(logged['train/loss'].current())
    return Path(cfg.work_dir, 'epoch_1.pth' if 'max_epochs' in cfg.train_cfg else 'iter_2.pth')


def baseline_of(path: Path) -> Path:
    """The baseline of a refocused config."""
    return path.with_name(re.sub('_refconv[-a-z]*', '', path.name))


def control_of(path: Path) -> Path:
    """The control of a refocused config, which shares all but RefConv with it."""
    kind = path.name.split('_refconv')[1].partition('_')[0]
    names = {'': ['_control'], '-paper': ['_control-paper', '_control'], '-from-imagenet': ['']}[kind]
    paths = [path.with_name(path.name.replace(f'_refconv{kind}', name)) for name in names]
    return next(control for control in paths if control.is_file())


def run_set(path: Path, folder: Path) -> None:
    """Runs the set of a refocused config as a user does: baseline, control, refocused run, fused, tested."""
    cfg = Config.fromfile(baseline_of(path))
    torch.manual_seed(0)
    data, start = make_data(cfg, folder / 'data'), random_checkpoint(cfg, folder / 'start.pth')
    start = train(shorten(cfg, folder / 'baseline', data), start)
    train(shorten(Config.fromfile(control_of(path)), folder / 'control', data), start)
    cfg = shorten(Config.fromfile(path), folder / 'refocused', data)
    last = train(cfg, start)
    fused, plain = write_fused(fuse_checkpoint(cfg, read_checkpoint(last)), folder / 'fused')
    before, after = (read_checkpoint(file)['state_dict'] for file in (start, fused))
    assert any((before[key] - after[key]).abs().max() > 0 for key in after if after[key].ndim == 4)
    fused_cfg = Config.fromfile(plain)
    fused_cfg.work_dir = cfg.work_dir
    metrics = runner_for_checkpoint(fused_cfg, str(fused))[0].test()
    assert metrics
    assert metrics == runner_for_checkpoint(cfg, str(last))[0].test()
