"""Random numbers that follow from a place in a run, so that an interrupted run goes on with the same ones."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner


def derived_seed(*parts: int | str) -> int:
    """A seed of 32 bits that depends on the parts only."""
    return int.from_bytes(hashlib.sha256('/'.join(map(str, parts)).encode()).digest()[:4], 'big')


def seed_cpu(seed: int) -> None:
    """Seeds Python's, numpy's and torch's CPU generators: `torch.manual_seed` seeds GPUs, too."""
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)


class SeededStepsHook(Hook):
    """Seeds each epoch and each step of a training by the run's seed, the process and their number.

    mmengine seeds once, so a resumed run would draw other dropout masks than an uninterrupted one. With this hook it
    ends with the same weights, bit for bit, on the same machine with the same number of threads. There are two
    exceptions: a worker of `persistent_workers=True` augments the epochs after a resume with other numbers, and a
    resume within an accumulation of gradients loses those of the steps before it.

    Attributes:
        begun: whether a step has begun.
    """

    priority, begun = 'VERY_HIGH', False

    def before_train_epoch(self, runner: Runner) -> None:
        seed = derived_seed(runner.seed, get_rank(), 'epoch', runner.epoch)
        seed_cpu(seed)
        torch.manual_seed(seed)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.begun, seed = True, derived_seed(runner.seed, get_rank(), 'step', runner.iter)
        if runner.train_dataloader.num_workers:  # else the augmentation draws from Python's and numpy's generators
            seed_cpu(seed)
        torch.manual_seed(seed)
