"""Runners for training and testing: a config and a checkpoint made ready for mmengine's Runner."""

from __future__ import annotations

import time

import mmcv.cnn
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from ..checkpoints.fusing import as_plain, load_whole, read_checkpoint
from ..files.errors import CheckpointError
from ..files.reading import make_mmengine_read_safely
from ..openmmlab import compat
from ..openmmlab.config import drop_pretrained
from ..openmmlab.extension import check_ops
from ..openmmlab.models import unwrapped
from .curves import CurvesHook
from .terminal import ProgressHook, QuietRunner


def build_runner(cfg: Config, quiet: bool = False) -> Runner:
    """Builds a runner as the libraries' own tools do, and repairs upstream faults once its modules are imported.

    A quiet one shows a few lines on the terminal; a config with a `runner_type` of its own keeps its runner's log.
    """
    compat.prepare()
    make_mmengine_read_safely()
    kind = QuietRunner if quiet else Runner
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else kind.from_cfg(cfg)
    compat.prepare()
    return runner


def train_with_progress(runner: Runner) -> None:
    """Trains, shows the progress on the terminal of a quiet runner, and writes `curves.png` into the work dir."""
    runner.register_hook(CurvesHook())
    if not isinstance(runner, QuietRunner):
        runner.train()
        return
    progress = ProgressHook(runner.console)
    runner.register_hook(progress)
    try:
        runner.train()
    finally:
        progress.stop()


def check_start(model: nn.Module, path: str, trust: bool = False) -> str:
    """Checks how many kernels of a model a checkpoint fills; mmengine does not load strictly, so it does not check.

    Returns:
        The share, in a sentence.

    Raises:
        CheckpointError: it fills less than half of the backbone's kernels (of the model's without a backbone): the
            MobileNetV2 of mmdet and that of mmpretrain are one net with two sets of names.
    """
    state = read_checkpoint(path, trust)['state_dict']
    kernels = {name: v for name, v in unwrapped(model).state_dict().items() if name.endswith('.weight') and v.ndim == 4}
    part = 'backbone.' if any(name.startswith('backbone.') for name in kernels) else ''
    kernels = {name: v for name, v in kernels.items() if name.startswith(part)}
    filled = [name for name, v in kernels.items() if name in state and state[name].shape == v.shape]
    share = f'{path} fills {len(filled)} of {len(kernels)} kernels of the {part.rstrip(".") or "model"}'
    if len(filled) * 2 < len(kernels):
        missing = next(name for name in kernels if name not in filled)
        raise CheckpointError(
            f'{share}; the others would start at random. The checkpoint lacks {missing}; it has, for instance, '
            f'{", ".join(list(state)[6:8])}'
        )
    return share


def runner_for_checkpoint(
    cfg: Config, path: str, ema: bool | None = None, trust: bool = False, quiet: bool = False
) -> tuple[Runner, str]:
    """A runner that tests a refocused, fused or plain checkpoint; a refocused one is fused in memory.

    Args:
        ema: as in :func:`refconv_mm.checkpoints.fusing.choose_weights`.
        trust: as in :func:`refconv_mm.checkpoints.fusing.read_checkpoint`.
        quiet: as in :func:`build_runner`.

    Returns:
        The runner, its model loaded, and a description of the tested weights.

    Raises:
        FileNotFoundError, CheckpointError, FuseError: the checkpoint does not exist, does not belong to the config's
            model, or cannot be fused.
    """
    plain = as_plain(cfg, read_checkpoint(path, trust), ema=ema, source=path)
    tested, cfg = plain.what, plain.cfg.copy()
    cfg.load_from, cfg.resume = None, False
    drop_pretrained(cfg.model)
    runner = build_runner(cfg, quiet)
    if plain.folded_bn:
        mmcv.cnn.fuse_conv_bn(unwrapped(runner.model))
        tested += '; batch norm folded'
    load_whole(runner.model, plain.state_dict, path)
    check_ops(unwrapped(runner.model))
    print_log(f'testing {tested}', logger='current')
    return runner, tested


def name_run(cfg: Config, name: str) -> None:
    """Gives a run a name of its own; runners of one process share loggers and visualizers by name."""
    cfg.experiment_name = f'{name}_{time.time_ns()}'
    if 'visualizer' in cfg:
        cfg.visualizer.name = cfg.experiment_name


def leave_process_group() -> None:
    """Ends a distributed run.

    A thread of gloo takes the GIL to release the tensors of the last collective. While the interpreter shuts down, that
    aborts the process ("terminate called without an active exception"), and the launcher reports a failed run.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(1)
