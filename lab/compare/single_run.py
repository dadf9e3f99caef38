"""One run, in a process of its own: trains or continues to train, fuses, tests, and writes the result.

python -m lab.compare.single_run RUN_DIR
"""

from __future__ import annotations

import copy
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from refconv_mm.checkpoints.fusing import as_plain, read_checkpoint, write_checkpoint
from refconv_mm.checkpoints.states import refocused_layers
from refconv_mm.files.errors import BusyError, DivergedError
from refconv_mm.files.lock import only_one
from refconv_mm.files.writing import write_json, write_text
from refconv_mm.hooks import FiniteHook, SeededStepsHook, StartHook
from refconv_mm.openmmlab import compat
from refconv_mm.openmmlab.config import without_run
from refconv_mm.running.curves import read_curve
from refconv_mm.running.runner import build_runner, runner_for_checkpoint
from refconv_mm.running.settings import latest_checkpoint, set_init, set_resume
from refconv_mm.surgery import trainable

from ..runs import name_run, read_json
from .identity import run_identity, weights_hash
from .seeding import seed_data
from .seen_data_hook import SeenDataHook, seen_data
from .training_time_hook import SECONDS, TrainingTimeHook

BUSY = 75  # exit code: another process does this run


def complete_run(folder: Path) -> None:
    """Does the missing part of a run and writes `fused.pth`, `fused.py` and, at the end, `result.json`.

    Raises:
        ValueError: commit, config, start or versions changed since the run was planned.
    """
    record = read_json(folder / 'run.json')
    # mmengine writes the config into every checkpoint; formatting it would take most of a second each time.
    cfg = Config.fromfile(folder / 'config.py', format_python_code=False)
    begin, start = time.monotonic(), record['start']
    now, planned = run_identity(cfg, start), record['identity']
    if changed := [part for part in now if now[part] != planned[part]]:
        raise ValueError(f'{folder}: changed since the run was planned: {", ".join(changed)}; start the plan again')
    result = train_and_fuse(cfg, folder, start)
    if not result['diverged']:
        result['metrics'] = evaluate(folder)
        if record['metric'] not in result['metrics']:
            raise ValueError(f'no metric {record["metric"]!r} was measured; there are {list(result["metrics"])}')
    machine = dict(machine=platform.node(), processor=platform.machine(), threads=torch.get_num_threads())
    machine |= dict(time=time.strftime('%Y-%m-%d %H:%M'))
    result['total_seconds'] = time.monotonic() - begin
    write_json(folder / 'result.json', {**result, **record, **machine})
    for path in [*folder.glob('train/*.pth'), folder / 'train/last_checkpoint']:
        path.unlink(missing_ok=True)


def train_and_fuse(cfg: Config, folder: Path, start: str | None) -> dict[str, Any]:
    """Trains a run and writes its plain checkpoint.

    Returns:
        The record of the training; only `diverged`, with the reason, if the loss became infinite or NaN.
    """
    try:
        result = train(copy.deepcopy(cfg), folder, start)
    except DivergedError as diverged:
        return dict(diverged=str(diverged), metrics={}, weights='')
    fuse_run(cfg, folder)
    return dict(result, metrics={}, weights=weights_hash(folder / 'fused.pth'))


def train(cfg: Config, folder: Path, start: str | None) -> dict[str, Any]:
    """Trains a run to its end, from its start or from its last checkpoint.

    Returns:
        The record of the training.
    """
    cfg.work_dir = str(folder / 'train')
    name_run(cfg, 'train')
    seed_data(cfg, cfg.randomness.seed)
    latest = latest_checkpoint(folder / 'train')
    if latest is not None:
        start_note = set_resume(cfg, str(latest), start)
    else:
        start_note = 'starts as the config says' if start is None else set_init(cfg, start)
    runner = build_runner(cfg)
    print(start_note, flush=True)
    runner.register_hook(StartHook(random_parts='*'))  # the plan names every start
    runner.register_hook(FiniteHook())
    runner.register_hook(SeenDataHook())
    runner.register_hook(SeededStepsHook())
    runner.register_hook(TrainingTimeHook())
    runner.train()
    return dict(
        diverged='',
        steps=runner.iter,
        seconds=runner.message_hub.get_info(SECONDS),
        trainable=trainable(runner.model),
        **clipping(runner),
        data=seen_data(runner),
        curve=read_curve(folder / 'train'),
    )


def clipping(runner: Runner) -> dict[str, float]:
    """The limit of a training's gradient norm, the median norm, and the share of steps in which it was clipped."""
    limit = (runner.optim_wrapper.clip_grad_kwargs or {}).get('max_norm')
    if limit is None:
        return {}
    norms = runner.message_hub.get_scalar('train/grad_norm').data[0]
    return dict(max_norm=limit, grad_norm=float(np.median(norms)), clipped=float(np.mean(norms > limit)))


def fuse_run(cfg: Config, folder: Path) -> None:
    """Writes the plain checkpoint and its config."""
    last = latest_checkpoint(folder / 'train')
    if last is None:
        raise ValueError(f'{folder}: the training wrote no checkpoint; does the config have a CheckpointHook?')
    checkpoint = read_checkpoint(last)
    layers = sorted(refocused_layers(checkpoint['state_dict']))
    plain, state, _ = as_plain(cfg, checkpoint, source=str(last))
    text = compat.with_corrections(without_run(plain).pretty_text)
    meta = dict(refconv=dict(fused=bool(layers), source=str(last), layers=layers), cfg=text)
    write_checkpoint(folder / 'fused.pth', dict(state_dict=state, meta=meta))
    write_text(folder / 'fused.py', text)


def evaluate(folder: Path) -> dict[str, Any]:
    """Metrics of the fused model on the test split."""
    cfg = Config.fromfile(folder / 'fused.py', format_python_code=False)
    cfg.work_dir = str(folder / 'test')
    name_run(cfg, 'test')
    runner, content = runner_for_checkpoint(cfg, str(folder / 'fused.pth'))
    metrics: dict[str, Any] = runner.test()
    print(f'{content}: {metrics}', flush=True)
    return metrics


if __name__ == '__main__':
    try:
        with only_one(Path(sys.argv[1])):
            complete_run(Path(sys.argv[1]))
    except BusyError as error:
        print(error, file=sys.stderr)
        sys.exit(BUSY)
