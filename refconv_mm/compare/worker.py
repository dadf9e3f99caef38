"""One run, in a process of its own: train or go on training, fuse, test, write down.

python OUT_DIR/code/<hash>/run.py RUN_DIR    # the package as it was when the plan was started
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

from .. import running
from ..checkpoint import as_plain, read_checkpoint
from ..config import without_run
from ..files import write_whole
from ..hooks.seen_data_hook import SeenDataHook, seen_data
from ..surgery import trainable
from ..verify import FuseError
from . import identity
from .run_hook import SECONDS, Diverged, RunHook, write_json
from .seeding import seed_data

BUSY = 75  # exit code: another process is at this run


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds a run for this process; leaves with `BUSY` if another one has it."""
    with open(folder / 'lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f'another process is at {folder}', file=sys.stderr)
            sys.exit(BUSY)
        yield


def do_run(folder: Path) -> None:
    """Does what is missing of a run and writes `fused.pth`, `fused.py` and `result.json`, the last when all is done.

    Raises:
        ValueError: code, start or versions are not those that the run was planned with.
    """
    record = json.loads((folder / 'run.json').read_text())
    # mmengine writes its config into every checkpoint; formatting it takes most of a second each time.
    cfg = Config.fromfile(folder / 'config.py', format_python_code=False)
    begin, start = time.monotonic(), record['start']
    now = identity.identity(cfg, start, identity.code_hash())
    if changed := identity.differences(record['identity'], now):
        raise ValueError(f'{folder}: changed since the run was planned: {", ".join(changed)}; start the plan again')
    result = _read(folder / 'result.json')  # there if it was tested on the other split before
    if not result:
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


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def train_and_fuse(cfg: Config, folder: Path, start: str | None) -> dict[str, Any]:
    """Trains a run and writes its plain checkpoint.

    Returns:
        What the training says of itself; only `diverged`, and why, if the loss left the numbers.
    """
    try:
        result = train(copy.deepcopy(cfg), folder, start)
    except Diverged as diverged:
        return dict(diverged=str(diverged), metrics={}, weights='')
    fuse_run(cfg, folder)
    return dict(result, metrics={}, weights=identity.weights_hash(folder / 'fused.pth'))


def train(cfg: Config, folder: Path, start: str | None) -> dict[str, Any]:
    """Trains a run to its end, from its start or from its last checkpoint.

    Returns:
        What the training says of itself.
    """
    seed = cfg.randomness.seed
    cfg.work_dir = str(folder / 'train')
    _named(cfg, 'train')
    seed_data(cfg, seed)
    latest = latest_checkpoint(folder / 'train')
    if latest is not None:
        said = running.set_resume(cfg, str(latest), start)
    else:
        said = 'starts as the config says' if start is None else running.set_init(cfg, start)
    runner = running.build_runner(cfg)
    if cfg.get('load_from') and not cfg.get('resume') and start is not None:
        said += '; ' + running.check_start(runner.model, start)
    print(said, flush=True)
    runner.register_hook(SeenDataHook())
    runner.register_hook(RunHook(folder, seed))
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
    """The newest checkpoint that is whole; mmengine's own note can name one that a kill cut short or removed."""
    for path in sorted(work_dir.glob('*.pth'), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            read_checkpoint(path)
        except FuseError:
            path.unlink()
        else:
            return path
    return None


def fuse_run(cfg: Config, folder: Path) -> None:
    """Writes the plain checkpoint and the plain config that belongs to it."""
    last = latest_checkpoint(folder / 'train')
    if last is None:
        raise ValueError(f'{folder}: the training left no checkpoint; has the config a CheckpointHook?')
    plain = as_plain(cfg, read_checkpoint(last), source=str(last))
    plain_cfg = without_run(plain.cfg)
    if 'SmallImageBackbone' in str(plain_cfg.model):  # ours, and part of the plain model too
        plain_cfg.custom_imports = dict(imports=['refconv_mm.compare'], allow_failed_imports=False)
    meta = dict(refconv=dict(fused=plain.fused, source=str(last)), cfg=plain_cfg.pretty_text)
    checkpoint = dict(state_dict=plain.state_dict, meta=meta)
    write_whole(folder / 'fused.pth', lambda temporary: torch.save(checkpoint, temporary))
    write_whole(folder / 'fused.py', lambda temporary: Path(temporary).write_text(meta['cfg']))


def evaluate(folder: Path, split: str) -> dict[str, dict[str, Any]]:
    """Metrics of the fused model on a split, by split; of both where the config has one and the same for both."""
    cfg = Config.fromfile(folder / 'fused.py', format_python_code=False)
    cfg.work_dir = str(folder / 'test')
    own = cfg.get('val_dataloader') and cfg.val_dataloader.dataset != cfg.test_dataloader.dataset
    if own and split == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    _named(cfg, 'test')
    runner, what = running.runner_for_test(cfg, str(folder / 'fused.pth'))
    metrics = runner.test()
    print(f'{split}: {what}: {metrics}', flush=True)
    return {split: metrics} if own else dict(val=metrics, test=metrics)


def _named(cfg: Config, name: str) -> None:
    """Runners of one process share loggers by name; each gets its own."""
    cfg.experiment_name = f'{name}_{time.time_ns()}'
    if 'visualizer' in cfg:
        cfg.visualizer.name = cfg.experiment_name


def read_curve(work_dir: Path) -> list[dict[str, Any]]:
    """What was logged on the way, by step: losses and validations; of steps done twice, the last."""
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
        do_run(folder)


if __name__ == '__main__':
    main()
