"""The settings of a run: the changes of a config by the options of training and testing."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from ..checkpoints.fusing import read_checkpoint
from ..checkpoints.states import is_refocused_state
from ..files.errors import CheckpointError, UntrustedError
from ..openmmlab.config import drop_pretrained, is_refocused_config
from ..surgery.conv_types import type_name


def set_launcher(cfg: Config, launcher: str) -> None:
    """Sets the launcher. Without a GPU it also sets gloo, and DDP without device ids."""
    cfg.launcher = launcher
    if launcher != 'none' and get_device() == 'cpu':
        cfg.setdefault('env_cfg', {})
        cfg.env_cfg.dist_cfg = dict(cfg.env_cfg.get('dist_cfg') or {}, backend='gloo')
        wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
        wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
        cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}


def set_init(cfg: Config, path: str, trust: bool = False) -> str:
    """Makes a training config start from a checkpoint, which replaces every `Pretrained` init.

    Returns:
        A description of the checkpoint, for the log.

    Raises:
        FileNotFoundError, CheckpointError: the checkpoint cannot be read.
    """
    is_refocused = is_refocused_state(read_checkpoint(path, trust)['state_dict'])
    cfg.load_from = str(path)
    drop_pretrained(cfg.model)
    if is_refocused:
        return 'a refocused checkpoint: its bases and updates are loaded'
    if is_refocused_config(cfg):
        return 'a plain checkpoint: its kernels become the bases, and the updates are initialised'
    return 'a plain checkpoint'


def set_resume(cfg: Config, resume: str, init: str | None, trust: bool = False) -> str:
    """Makes a training config resume.

    Args:
        resume: a checkpoint, or `'auto'` for the latest one in the work dir. Without one, training starts from `init`.

    Returns:
        A description of the start, for the log.

    Raises:
        FileNotFoundError, CheckpointError: there is nothing to resume from and no `init`, or the checkpoint cannot be
            read, or is plain and the config refocused.
    """
    if resume == 'auto':
        latest = latest_checkpoint(Path(cfg.work_dir), trust)
        if latest is None:
            if not init:
                raise FileNotFoundError(
                    f'--resume: there is no checkpoint in {cfg.work_dir} to resume from. To start anew, leave out '
                    '--resume or name a checkpoint with --init.'
                )
            cfg.resume = False
            return f'no checkpoint to resume from in {cfg.work_dir}; {set_init(cfg, init, trust)}'
        resume = str(latest)
    checkpoint = read_checkpoint(resume, trust)
    if missing := {'epoch', 'iter'} - set(checkpoint['meta']):
        raise CheckpointError(
            f'{resume} cannot be resumed: it lacks meta {" and ".join(sorted(missing))}. Start from it with --init.'
        )
    if is_refocused_config(cfg) and not is_refocused_state(checkpoint['state_dict']):
        raise CheckpointError(
            f'{resume} is plain and the config is refocused: a plain run cannot be resumed as a refocused one. '
            'Start from the checkpoint with --init: its kernels become the bases.'
        )
    cfg.resume, cfg.load_from = True, resume
    if (cfg.get('randomness') or {}).get('seed') is None and checkpoint['meta'].get('seed') is not None:
        # mmengine takes it from the checkpoint too, but after it has built the sampler with another one.
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=checkpoint['meta']['seed'])
    drop_pretrained(cfg.model)
    return f'resumes from {resume}'


def latest_checkpoint(work_dir: Path, trust: bool = False) -> Path | None:
    """The checkpoint to resume from: the one that mmengine's `last_checkpoint` names, or the last whole one before it.

    A kill can leave half a checkpoint, a record of it, or half a record. Without a record, the checkpoint of the
    highest epoch or step counts; times of files do not, because clocks can be set back. Checkpoints after the recorded
    one are those of an earlier run in the folder.

    Raises:
        UntrustedError: the checkpoint would run code.
    """
    record = work_dir / 'last_checkpoint'
    named = Path(record.read_text(errors='replace').strip()) if record.is_file() else Path()
    parts = re.fullmatch(r'(.*?)(\d+)(\.pth)', named.name)
    pattern = re.escape(parts[1]) + r'(\d+)\.pth' if parts else r'(?:epoch|iter)_(\d+)\.pth'
    # A folder that was moved has the old place in its record; a CheckpointHook can have a folder of its own.
    elsewhere = parts and not (work_dir / named.name).exists() and named.parent.is_dir()
    folder = named.parent if elsewhere else work_dir
    names = os.listdir(folder) if folder.is_dir() else []
    steps = {int(match[1]): folder / name for name in names if (match := re.fullmatch(pattern, name))}
    for step in sorted(steps, reverse=True):
        if parts and step > int(parts[2]):
            continue
        try:
            read_checkpoint(steps[step], trust)
        except UntrustedError:
            raise
        except CheckpointError as error:
            print_log(f'{error}; the checkpoint before it is tried', logger='current', level=logging.WARNING)
        else:
            return steps[step]
    return None


def set_amp(cfg: Config) -> None:
    """Sets mixed precision; raises a ValueError without an accelerator and for other optimizer wrappers."""
    if get_device() == 'cpu':
        raise ValueError('--amp: there is no GPU, and mmengine trains in mixed precision on accelerators only')
    if (name := type_name(cfg.optim_wrapper) or 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp: the config has optim_wrapper type {name}, not OptimWrapper')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def set_auto_scale_lr(cfg: Config) -> None:
    """Makes mmengine scale the learning rate by the global batch size; a ValueError without a base size."""
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError('--auto-scale-lr: the config has no auto_scale_lr=dict(base_batch_size=...)')
    cfg.auto_scale_lr.enable = True
