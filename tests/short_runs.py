"""Short runs of any shipped config: two steps on small made images of its layout, validated, fused and tested."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.openmmlab.config import is_refocused_config
from demo import SHAPES, make_cityscapes, make_voc
from refconv_mm.data.classes import leaves
from refconv_mm.openmmlab.image_size import resized
from refconv_mm.running.settings import set_init
from refconv_mm.running.runner import build_runner, name_run, runner_for_checkpoint

from tests.data.made import write_class_folders

SIZE = 64, 96


def make_data(cfg: Config, root: Path) -> Path:
    """Four training images and two others in the layout of a config, in a folder for its data_root."""
    leaf, *others = leaves(cfg.train_dataloader.dataset)
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
    if leaf['type'] == 'CityscapesDataset':
        return make_cityscapes(root, train=4, val=2, size=SIZE)
    write_class_folders(root, train=3, val=1, size=72)
    surplus = sorted((root / 'train').rglob('*.png'))[4:]
    for path in surplus[1 if cfg.train_dataloader.dataset.type == 'EveryFifth' else 0 :]:  # it holds one of five out
        path.unlink()
    (root / 'meta').mkdir()
    for split in ('train', 'val'):  # as ImageNet has it, whose folders need not be all there
        files = sorted(path.relative_to(root / split) for path in (root / split).rglob('*.png'))
        lines = [f'{path} {int(path.parts[0] == "red")}' for path in files]
        (root / f'meta/{split}.txt').write_text('\n'.join(lines))
    return root


def shorten(cfg: Config, work_dir: Path, data_root: Path | None = None, size: tuple[int, int] = SIZE) -> Config:
    """Two steps with small images, in this process; the config is changed in place and returned."""
    cfg.work_dir, cfg.log_level = str(work_dir), 'WARNING'
    name_run(cfg, work_dir.name)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.pop('times', None) is None or loader.dataset.update(times=1)
        for leaf in leaves(loader.dataset):
            leaf['pipeline'] = resized(leaf['pipeline'], size)
            leaf.pop('indices', None)
            if data_root:
                leaf['data_root'] = f'{data_root}/'
    if cfg.model.get('data_preprocessor', {}).get('size'):
        cfg.model.data_preprocessor.size = size
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
    assert [name for name in logged if name.startswith('val/')], 'the run was not validated'
    assert math.isfinite(logged['train/loss'].current())
    return Path(cfg.work_dir, 'epoch_1.pth' if 'max_epochs' in cfg.train_cfg else 'iter_2.pth')


def fuse_and_test(cfg: Config, last: Path) -> tuple[Any, dict]:
    """Fuses a checkpoint of a refocused run and tests the written files; returns the proof and the metrics."""
    assert is_refocused_config(cfg)
    fused = fuse_checkpoint(cfg, read_checkpoint(last), source=str(last))
    path, plain = write_fused(fused, Path(cfg.work_dir, 'written'))
    fused_cfg = Config.fromfile(plain)
    fused_cfg.work_dir = cfg.work_dir
    metrics = runner_for_checkpoint(fused_cfg, str(path))[0].test()
    assert metrics == runner_for_checkpoint(cfg, str(last))[0].test()
    return fused.comparison, metrics


def moved(before: Path, after: Path) -> float:
    """The largest difference of the kernels of two checkpoints."""
    old, new = (read_checkpoint(path)['state_dict'] for path in (before, after))
    return max((old[key] - new[key]).abs().max().item() for key in new if new[key].ndim == 4 and key in old)


def random_start(cfg: Config, path: Path) -> Path:
    """A plain checkpoint with random weights, as a stand-in for a trained one."""
    from tests.conftest import random_checkpoint

    torch.manual_seed(0)
    return random_checkpoint(cfg, path)
