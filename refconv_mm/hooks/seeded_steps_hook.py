"""SeededStepsHook: a resumed run draws the random numbers of an uninterrupted one."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .seeds import derived_seed, seed_all


@HOOKS.register_module()
class SeededStepsHook(Hook):
    """Seeds each epoch and each step of a training by the run's seed, the process and their number.

    mmengine seeds once, so a resumed run would draw other dropout masks than an uninterrupted one. With this hook it
    ends with the same weights, bit for bit, on the same machine with the same number of threads. The exception are
    loops over epochs with `persistent_workers=True`: a worker augments the epochs after a resume with other numbers.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        seed_all(derived_seed(runner.seed, get_rank(), 'epoch', runner.epoch))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        seed = derived_seed(runner.seed, get_rank(), 'step', runner.iter)
        if runner.train_dataloader.num_workers:
            seed_all(seed)
        else:  # the augmentation of the next batch draws from Python's and numpy's generators of this process
            torch.manual_seed(seed)
