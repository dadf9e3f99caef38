"""One run, in a process of its own: trains or continues to train, fuses, tests, and writes the result.

python OUT_DIR/code/<hash>/run.py RUN_DIR    # with the package as it was when the plan was started
"""

from __future__ import annotations

import argparse
import copy
import fcntl
import json
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from .. import compat
from ..checkpoint import as_plain, read_checkpoint
from ..config import plain_config, without_run
from ..errors import CheckpointError
from ..files import read_json, write_json, write_text, write_whole
from ..hooks.seen_data_hook import SeenDataHook, seen_data
from ..run_settings import set_init, set_resume
from ..runners import build_runner, check_start, name_run, runner_for_checkpoint
from ..surgery import trainable
from .identity import changed_parts, code_hash, run_identity, weights_hash
from .seeding import seed_data
from .steps_hook import SECONDS, Diverged, StepsHook

BUSY = 75  # exit code: another process does this run


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Locks a run for this process; exits with `BUSY` if another process has locked it."""
    with open(folder / 'lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f'another process does the run in {folder}', file=sys.stderr)
            sys.exit(BUSY)
        yield


def complete_run(folder: Path) -> None:
    """Does the missing part of a run and writes `fused.pth`, `fused.py` and, at the end, `result.json`.

    Raises:
        ValueError: code, config, start or versions changed since the run was planned.
    """
    record = read_json(folder / 'run.json')
    # mmengine writes the config into every checkpoint; formatting it would take most of a second each time.
    cfg = Config.fromfile(folder / 'config.py', format_python_code=False)
    begin, start = time.monotonic(), record['start']
    now = run_identity(cfg, start, code_hash())
    if changed := changed_parts(record['identity'], now):
        raise ValueError(f'{folder}: changed since the run was planned: {", ".join(changed)}; start the plan again')
    result = read_json(folder / 'result.json')  # exists if the run was tested on the other split
    if result is None:
        result = train_and_fuse(cfg, folder, start)
    if not result['diverged']:
        result['metrics'] |= evaluate(folder, record['split'])
        known = result['metrics'][record['split']]
        if record['metric'] not in known:
            raise ValueError(f'no metric {record["metric"]!r} was measured; there are {list(known)}')
    machine = dict(machine=platform.node(), processor=platform.machine(), threads=torch.get_num_threads())
    machine |= dict(time=time.strftime('%Y-%m-%d %H:%M'))
    result['total_seconds'] = result.get('total_seconds', 0.0) + time.monotonic() - begin
    write_json(folder / 'result.json', {**result, **record, **machine})
    for path in [*folder.glob('train/*.pth'), folder / 'train/last_checkpoint', folder / 'progress.json']:
        path.unlink(missing_ok=True)


def train_and_fuse(cfg: Config, folder: Path, start: str | None) -> dict[str, Any]:
    """Trains a run and writes its plain checkpoint.

    Returns:
        The record of the training; only `diverged`, with the reason, if the loss became infinite or NaN.
    """
    try:
        result = train(copy.deepcopy(cfg), folder, start)
    except Diverged as diverged:
        return dict(diverged=str(diverged), metrics={}, weights='')
    fuse_run(cfg, folder)
    return dict(result, metrics={}, weights=weights_hash(folder / 'fused.pth'))


def train(cfg: Config, folder: Path, start: str | None) -> dict[str, Any]:
    """Trains a run to its end, from its start or from its last checkpoint.

    Returns:
        The record of the training.
    """
    seed = cfg.randomness.seed
    cfg.work_dir = str(folder / 'train')
    name_run(cfg, 'train')
    seed_data(cfg, seed)
    latest = latest_checkpoint(folder / 'train')
    if latest is not None:
        start_note = set_resume(cfg, str(latest), start)
    else:
        start_note = 'starts as the config says' if start is None else set_init(cfg, start)
    runner = build_runner(cfg)
    if cfg.get('load_from') and not cfg.get('resume') and start is not None:
        start_note += '; ' + check_start(runner.model, start)
    print(start_note, flush=True)
    runner.register_hook(SeenDataHook())
    runner.register_hook(StepsHook(folder, seed))
    runner.train()
    return dict(
        diverged='',
        steps=runner.iter,
        seconds=runner.message_hub.get_info(SECONDS),
        trainable=trainable(runner.model),
        data=seen_data(runner),
        curve=read_curve(folder / 'train'),
    )


def latest_checkpoint(work_dir: Path) -> Path | None:
    """The newest complete checkpoint; mmengine's own record can name one that a kill left incomplete or removed."""
    for path in sorted(work_dir.glob('*.pth'), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            read_checkpoint(path)
        except CheckpointError:
            path.unlink()
        else:
            return path
    return None


def fuse_run(cfg: Config, folder: Path) -> None:
    """Writes the plain checkpoint and its config."""
    last = latest_checkpoint(folder / 'train')
    if last is None:
        raise ValueError(f'{folder}: the training wrote no checkpoint; does the config have a CheckpointHook?')
    plain = as_plain(cfg, read_checkpoint(last), source=str(last))
    text = compat.runs_alone(without_run(plain_config(plain.cfg)).pretty_text)
    meta = dict(refconv=dict(fused=plain.fused, source=str(last)), cfg=text)
    checkpoint = dict(state_dict=plain.state_dict, meta=meta)
    write_whole(folder / 'fused.pth', lambda temporary: torch.save(checkpoint, temporary))
    write_text(folder / 'fused.py', text)


def evaluate(folder: Path, split: str) -> dict[str, dict[str, Any]]:
    """Metrics of the fused model by split: of the given one, or of both if the config has the same data for both."""
    cfg = Config.fromfile(folder / 'fused.py', format_python_code=False)
    cfg.work_dir = str(folder / 'test')
    own = cfg.get('val_dataloader') and cfg.val_dataloader.dataset != cfg.test_dataloader.dataset
    if own and split == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    name_run(cfg, 'test')
    runner, what = runner_for_checkpoint(cfg, str(folder / 'fused.pth'))
    metrics = runner.test()
    print(f'{split}: {what}: {metrics}', flush=True)
    return {split: metrics} if own else dict(val=metrics, test=metrics)


def read_curve(work_dir: Path) -> list[dict[str, Any]]:
    """The logged losses and validations by step; of a step that was done twice, the last."""
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            kept = {key: value for key, value in row.items() if key not in ('data_time', 'time', 'memory', 'iter')}
            rows[int(row.get('step', 0)), 'loss' in row] = kept
    return [rows[key] for key in sorted(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    folder = parser.parse_args().folder
    with only_one(folder):
        complete_run(folder)


if __name__ == '__main__':
    main()
