"""Runners for training and testing: a config and a checkpoint made ready for mmengine's Runner."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..checkpoints.fusing import as_plain, load_whole, read_checkpoint
from ..files.lock import LOCK, only_one
from ..files.reading import make_mmengine_read_safely
from ..hooks import SeededStepsHook
from ..openmmlab import compat
from ..openmmlab.config import drop_pretrained
from ..openmmlab.extension import check_ops
from ..openmmlab.models import unwrapped
from ..surgery import named_refconvs
from .curves import METRIC, CurvesHook, panels_of, read_curve
from .metrics import describe_best
from .terminal import ProgressHook, QuietRunner

CONTROL = (
    'The gain of refocusing is the difference from a control: a training of the same checkpoint with the same data, '
    'schedule and steps, without RefConv.'
)


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
    """Trains, and writes `curves.png` into the work dir; a quiet runner shows the progress and the results."""
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
    if is_main_process():
        runner.console.print('\n'.join(closing_lines(runner)), markup=False, highlight=False, soft_wrap=True)


def closing_lines(runner: Runner) -> list[str]:
    """The checkpoint, the best validation and the next command of a training that has ended."""
    work_dir, last = Path(runner.work_dir), runner.message_hub.get_info('last_ckpt')
    best = describe_best(panels_of(read_curve(work_dir)).get(METRIC, {}))
    lines = [line for line in (f'checkpoint: {last}' if last else '', best) if line]
    is_refocused = bool(named_refconvs(unwrapped(runner.model)))
    words: list[Any] = ['test', runner.cfg.filename, last]
    if is_refocused:
        is_fused = any(getattr(hook, 'fuse_after_train', False) for hook in runner.hooks)
        words = ['test', work_dir / 'fused.py', work_dir / 'fused.pth'] if is_fused else ['fuse', *words[1:]]
    if all(words):
        lines.append(f'next: refconv {shlex.join(map(str, words))}')
    return lines + [CONTROL] * is_refocused


@contextmanager
def reserved(folder: Path, steps: SeededStepsHook) -> Iterator[None]:
    """Reserves the folder of a training; an error before the first of its `steps` removes what mmengine made there.

    Raises:
        BusyError: another process has reserved the folder.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    with only_one(folder):
        before = set(folder.iterdir())
        try:
            yield
        except (ValueError, TypeError, OSError):
            if not steps.begun:
                for path in set(folder.iterdir()) - (set() if missing else before):
                    if path.is_dir() and re.fullmatch(r'\d{8}_\d{6}', path.name):  # the time of a start
                        shutil.rmtree(path)
                    elif path.suffix == '.py' or path.name == LOCK:
                        path.unlink()
                for each in missing:
                    if not any(each.iterdir()):  # others can work there, too
                        each.rmdir()
            raise


def runner_for_checkpoint(
    cfg: Config, path: str, ema: bool | None = None, trust: bool = False, quiet: bool = False, tta: bool = False
) -> tuple[Runner, str]:
    """A runner that tests a refocused, fused or plain checkpoint; a refocused one is fused in memory.

    Args:
        ema: as in :func:`refconv_mm.checkpoints.fusing.choose_weights`.
        trust: as in :func:`refconv_mm.checkpoints.fusing.read_checkpoint`.
        quiet: as in :func:`build_runner`.
        tta: test-time augmentation, by `tta_model` and `tta_pipeline` of the config.

    Returns:
        The runner, its model loaded, and a description of the tested weights.

    Raises:
        FileNotFoundError, CheckpointError, FuseError: the checkpoint does not exist, does not belong to the config's
            model, or cannot be fused.
        ValueError: the config lacks a part of the test, or test-time augmentation.
    """
    if missing := [name for name in ('test_dataloader', 'test_cfg', 'test_evaluator') if cfg.get(name) is None]:
        raise ValueError(f'the config has no {", no ".join(missing)}; a test needs it')
    if tta and (missing := [name for name in ('tta_model', 'tta_pipeline') if name not in cfg]):
        raise ValueError(f'--tta: the config has no {" and no ".join(missing)}')
    cfg, state, tested = as_plain(cfg, read_checkpoint(path, trust), ema=ema, source=path)
    cfg = cfg.copy()
    cfg.load_from, cfg.resume = None, False
    drop_pretrained(cfg.model)
    if tta:
        cfg.model = dict(cfg.tta_model, module=cfg.model)
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        tested += '; test-time augmentation'
    runner = build_runner(cfg, quiet)
    model = unwrapped(runner.model).module if tta else unwrapped(runner.model)
    load_whole(model, state, path)
    check_ops(model)
    print_log(f'testing {tested}', logger='current')
    return runner, tested


def leave_process_group() -> None:
    """Ends a distributed run.

    A thread of gloo takes the GIL to release the tensors of the last collective. While the interpreter shuts down, that
    aborts the process ("terminate called without an active exception"), and the launcher reports a failed run.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(1)
