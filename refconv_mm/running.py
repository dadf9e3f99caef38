"""What tools/train.py and tools/test.py do: a config and a checkpoint made ready for mmengine's Runner."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmcv.cnn
import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from rich.table import Table
from torch import nn

from . import compat
from .checkpoint import as_plain, is_refocused_state, load_whole, read_checkpoint
from .config import drop_pretrained, is_refocused_config, plain_config
from .onnx_model import OnnxModel, run_on
from .surgery import bare
from .verify import FuseError


def build_runner(cfg: Config) -> Runner:
    """A runner as the libraries' own tools build it, with upstream faults mended once its modules are imported."""
    compat.apply()
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    compat.apply()
    return runner


def add_run_options(parser: ArgumentParser) -> None:
    """The options that training and testing share."""
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ... merged into the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--trust', action='store_true', help='load the checkpoint even if it would run code')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=SUPPRESS)


def open_config(args: Namespace) -> Config:
    """The config that the options of :func:`add_run_options` describe."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    set_launcher(cfg, args.launcher)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    set_work_dir(cfg, args.work_dir, args.config)
    return cfg


def set_launcher(cfg: Config, launcher: str) -> None:
    """The launcher; without a GPU also what mmengine then needs: gloo, and DDP without device ids."""
    cfg.launcher = launcher
    if launcher != 'none' and get_device() == 'cpu':
        cfg.setdefault('env_cfg', {})
        cfg.env_cfg.dist_cfg = dict(cfg.env_cfg.get('dist_cfg') or {}, backend='gloo')
        wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
        wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
        cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}


def set_work_dir(cfg: Config, work_dir: str | None, config_path: str) -> None:
    """Work dir from the command line, else the config, else `work_dirs/<name of the config>`."""
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(config_path).stem}'


def set_init(cfg: Config, path: str, trust: bool = False) -> str:
    """Makes a training config start from a checkpoint, which is looked into first.

    The checkpoint takes the place of every `Pretrained` init, so nothing is fetched.

    Returns:
        What the checkpoint is, for the log.

    Raises:
        FileNotFoundError, FuseError: unreadable, or refocused while the config is plain: its maps would be
            dropped in silence and the basis taken for the trained kernel.
    """
    refocused = is_refocused_state(_read(path, trust)['state_dict'])
    _refuse_bare_bases(cfg, path, refocused)
    cfg.load_from = str(path)
    drop_pretrained(cfg.model)
    if refocused:
        return 'a refocused checkpoint: bases and maps are taken'
    if is_refocused_config(cfg):
        return 'a plain checkpoint: its kernels become the bases, the maps start anew'
    return 'a plain checkpoint'


def _read(path: str, trust: bool) -> dict[str, Any]:
    """Reads a checkpoint that mmengine will load after us; it gets the same trust."""
    checkpoint = read_checkpoint(path, trust)
    if trust:
        os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'  # torch's own switch for loads that don't say
    return checkpoint


def _refuse_bare_bases(cfg: Config, path: str, refocused: bool) -> None:
    if refocused and not is_refocused_config(cfg):
        raise FuseError(
            f'{path} is refocused and the config is plain: its kernels would come without their transformation. '
            'Fuse it first (tools/fuse.py CONFIG CKPT), then start from fused.pth.'
        )


def check_start(model: nn.Module, path: str, trust: bool = False) -> str:
    """How much of a model a checkpoint fills; loading is not strict, so nobody else asks.

    Returns:
        The share, in a sentence.

    Raises:
        FuseError: less than half of the backbone's (or, without one, the model's) kernels are filled: the names
            differ. mmdet's MobileNetV2 and mmpretrain's are one net with two sets of names.
    """
    state = read_checkpoint(path, trust)['state_dict']
    kernels = {name: v for name, v in bare(model).state_dict().items() if name.endswith('.weight') and v.ndim == 4}
    part = 'backbone.' if any(name.startswith('backbone.') for name in kernels) else ''
    kernels = {name: v for name, v in kernels.items() if name.startswith(part)}
    filled = [name for name, v in kernels.items() if name in state and state[name].shape == v.shape]
    share = f'{path} fills {len(filled)} of {len(kernels)} kernels of the {part.rstrip(".") or "model"}'
    if len(filled) * 2 < len(kernels):
        missing = next(name for name in kernels if name not in filled)
        raise FuseError(
            f'{share}; the rest would start at random. Not there: {missing}. The checkpoint has, for instance: '
            f'{", ".join(list(state)[6:8])}'
        )
    return share


def set_resume(cfg: Config, resume: str, init: str | None, trust: bool = False) -> str:
    """Resumes from a file, or with `'auto'` from the latest checkpoint in the work dir, else starts from `init`.

    Returns:
        What it does, for the log.

    Raises:
        FileNotFoundError, FuseError: unreadable, or refocused where the config is plain, or the reverse.
    """
    if resume == 'auto':
        latest = find_latest_checkpoint(cfg.work_dir)
        if latest is None:
            cfg.resume = False
            return 'no checkpoint to resume from; ' + (set_init(cfg, init, trust) if init else 'starts anew')
        resume = latest
    refocused = is_refocused_state(_read(resume, trust)['state_dict'])
    _refuse_bare_bases(cfg, resume, refocused)
    if is_refocused_config(cfg) and not refocused:
        raise FuseError(
            f'{resume} is plain and the config is refocused: a run without maps cannot be resumed with them. '
            'Start from it with --init: its kernels become the bases.'
        )
    cfg.resume, cfg.load_from = True, resume
    drop_pretrained(cfg.model)
    return f'resumes from {resume}'


def set_amp(cfg: Config) -> None:
    """Mixed precision with a dynamic loss scale.

    Raises:
        ValueError: the config has an optimizer wrapper of its own kind, or there is no accelerator, which
            mmengine's wrapper needs.
    """
    if get_device() == 'cpu':
        raise ValueError('--amp: there is no GPU here, and mmengine trains in mixed precision on accelerators only')
    if cfg.optim_wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp: the config has optim_wrapper type {cfg.optim_wrapper.type}, not OptimWrapper')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def set_auto_scale_lr(cfg: Config) -> None:
    """Scales the learning rate with the global batch.

    Raises:
        ValueError: the config does not say for which batch its learning rate is meant.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError('--auto-scale-lr: the config has no auto_scale_lr=dict(base_batch_size=...)')
    cfg.auto_scale_lr.enable = True


def runner_for_test(cfg: Config, path: str, ema: bool | None = None, trust: bool = False) -> tuple[Runner, str]:
    """A runner that tests a checkpoint, fused in memory if it is refocused.

    Args:
        cfg: a refocused or a plain config.
        path: a refocused, fused or plain checkpoint of it, or an ONNX model exported from one (`.onnx`).
        ema: as in :func:`refconv_mm.checkpoint.choose_weights`.

    Returns:
        The runner, its model loaded, and what is being tested, in a sentence.

    Raises:
        FileNotFoundError, FuseError: no such checkpoint, or it is not one of this config's model.
    """
    if Path(path).suffix == '.onnx':
        if ema is not None:
            raise FuseError('--ema, --no-ema: which weights an ONNX model holds was chosen when it was exported')
        return _runner_for_onnx(cfg, path)
    plain = as_plain(cfg, read_checkpoint(path, trust), ema=ema, source=path)
    runner, what = _runner_without_weights(plain.cfg), plain.what
    if plain.folded_bn:
        mmcv.cnn.fuse_conv_bn(bare(runner.model))
        what += '; batch norm folded'
    load_whole(runner.model, plain.state_dict, path)
    print_log(f'testing {what}', logger='current')
    return runner, what


def _runner_for_onnx(cfg: Config, path: str) -> tuple[Runner, str]:
    """As :func:`runner_for_test`, for an ONNX model that tools/export_onnx.py wrote."""
    onnx = OnnxModel.read(path)
    runner = _runner_without_weights(plain_config(cfg) if is_refocused_config(cfg) else cfg)
    run_on(bare(runner.model), onnx)
    what = f'an ONNX model under onnxruntime ({onnx.provider}), of {onnx.record["note"]}'
    print_log(f'testing {what}', logger='current')
    return runner, what


def _runner_without_weights(cfg: Config) -> Runner:
    cfg = cfg.copy()
    cfg.load_from, cfg.resume = None, False
    drop_pretrained(cfg.model)
    return build_runner(cfg)


def leave_process_group() -> None:
    """Ends a distributed run; a gloo process that exits without it can be aborted by its own threads."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Metrics as a table, one a row."""
    table = Table()
    table.add_column('metric')
    table.add_column('value', justify='right')
    for name, value in metrics.items():
        table.add_row(name, f'{value:.4f}' if isinstance(value, float) else str(value))
    return table
