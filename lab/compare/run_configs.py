"""Makes the configs of a plan's runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.runner import Runner

from refconv_mm.commands.arguments import merge_options, open_config
from refconv_mm.layers.options import KINDS
from refconv_mm.openmmlab.config import is_refocused_config

from .plan import Arm, Budget, Plan, Task, find_file
from .speed import set_speed

# The seeds of later rounds are this far apart, so that no round uses the seed of another run.
ROUND = 1_000_000
# The options of `refocus=dict()` in a plan: the paper's speed and layers, since a plan replicates the paper.
PAPER = dict(gain=None, kinds=list(KINDS))
# Settings that a runner takes even if the config does not have them.
_RUNNER = set(Runner.__init__.__annotations__) | {'param_scheduler', 'custom_imports', 'find_unused_parameters'}


@cache
def _open(path: str) -> Config:
    return get_config(path) if '::' in path else open_config(path)


def baseline_config(plan: Plan, task: Task, seed: int) -> Config:
    """The config that trains a baseline."""
    assert task.baseline.config is not None
    cfg = copy.deepcopy(_open(find_file(plan, task.baseline.config)))
    where = f'{plan.path}: tasks.{task.name}'
    merge(cfg, task.options, f'{where}.options')
    merge(cfg, task.baseline.options, f'{where}.baseline.options')
    return _ready(cfg, task.baseline.budget, seed)


def arm_config(plan: Plan, task: Task, arm: Arm, seed: int, start: str) -> Config:
    """The config of an arm's run: the task's, with the arm's changes and nothing else.

    Args:
        start: the checkpoint that the run starts from; it decides the speeds of the kernels.

    Raises:
        ValueError: the config does not have a changed setting, or both config and arm refocus.
    """
    cfg = copy.deepcopy(_open(find_file(plan, task.config)))
    merge(cfg, task.options, f'{plan.path}: tasks.{task.name}.options')
    merge(cfg, arm.changes, f'{plan.path}: arms.{arm.name}')
    if arm.refocus is not None:
        _refocus(cfg, arm.refocus, f'{plan.path}: arms.{arm.name}.refocus')
    if is_refocused_config(cfg):
        cfg.setdefault('default_hooks', {})
        cfg.default_hooks.refconv = dict(type='RefConvHook', fuse_after_train=False)  # the run fuses every arm
    else:
        cfg.get('default_hooks', {}).pop('refconv', None)
    cfg = _ready(cfg, task.budget, seed + ROUND * plan.round_of(arm.name))
    if arm.speed is not None:
        like = arm_config(plan, task, plan.arms[arm.speed], seed, start)
        set_speed(cfg, like, start, f'{plan.path}: arms.{arm.name}')
    return cfg


def merge(cfg: Config, changes: Mapping[str, Any], where: str) -> None:
    """Merges dotted changes, in place.

    Raises:
        ValueError: the first part of a name is neither in the config nor a setting of a runner. Such a change,
            probably a spelling mistake, would have no effect.
    """
    for name in changes:
        if name.split('.')[0] not in set(cfg) | _RUNNER:
            raise ValueError(f'{where}: the config has no {name.split(".")[0]!r} (of {name!r})')
    merge_options(cfg, copy.deepcopy(dict(changes)), where)


def _refocus(cfg: Config, options: Mapping[str, Any], where: str) -> None:
    if is_refocused_config(cfg):
        raise ValueError(f'{where}: the config is refocused already; name the control config and let the arm refocus')
    if 'backbone' not in cfg.model:
        raise ValueError(f'{where}: the model of the config has no backbone; refocus it by changes of the config')
    options = {**PAPER, **options}
    cfg.model.backbone = dict(type='RefocusedBackbone', backbone=cfg.model.backbone, **options)


def _ready(cfg: Config, budget: Budget | None, seed: int) -> Config:
    if budget is not None:
        set_budget(cfg, budget)
    cfg.setdefault('default_hooks', {})
    cfg.default_hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2  # the last may be incomplete if the run was killed
    cfg.randomness = dict(seed=seed, deterministic=False)
    cfg.load_from, cfg.resume, cfg.launcher = None, False, 'none'
    cfg.pop('work_dir', None)
    return cfg


def set_budget(cfg: Config, budget: Budget) -> None:
    """Replaces steps, schedule and checkpoints of a config by those of a budget."""
    steps, warmup = budget.steps, budget.warmup
    every = dict(val_begin=1, val_interval=budget.val_every or steps)
    if budget.val_every is None:
        every['val_begin'] = (
            steps + 1
        )  # mmengine's loop also validates after the last step, when the run is tested anyway
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps, **every)
    span = dict(begin=warmup, end=steps, by_epoch=False)
    after = dict(
        cosine=[dict(type='CosineAnnealingLR', T_max=steps - warmup, eta_min=0, **span)],
        poly=[dict(type='PolyLR', power=0.9, eta_min=1e-4, **span)],
        constant=[],
    )[budget.schedule]
    rise = [dict(type='LinearLR', start_factor=0.001, begin=0, end=warmup, by_epoch=False)] if warmup else []
    cfg.param_scheduler = rise + after
    cfg.setdefault('default_hooks', {})
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=budget.save_every or max(1, steps // 5)
    )
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=max(1, min(50, steps // 10)), log_metric_by_epoch=False)
    cfg.log_processor = dict(by_epoch=False, window_size=max(1, min(50, steps // 10)))
    # An epoch would end with a small batch, and mmengine sleeps two seconds after each epoch.
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
