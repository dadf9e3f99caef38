"""Random numbers as a function of the seed and the step, so that no arm's draws shift another's.

mmengine seeds once, and everything then draws from that stream: a random start of the maps shifts the dropout
masks, with `num_workers=0` the augmentation too, and an interrupted run goes on with other numbers. Here each
sample is augmented from a seed of its own place in the run, and each step of the model likewise.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.registry import DATA_SAMPLERS, DATASETS


def derived_seed(*parts: int | str) -> int:
    """A seed of 32 bits that follows from its parts and from nothing else."""
    text = '/'.join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], 'big')


def seed_all(seed: int) -> None:
    """Seeds Python's, numpy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed inside, and afterwards on as if nothing had been drawn."""
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)  # torch.manual_seed would reach for the GPUs, from a worker
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])


class Numbered(int):
    """An index into a data set that knows its place in the run: (epoch, process, number)."""

    place: tuple[int, ...]

    def __new__(cls, index: int, place: tuple[int, ...] = ()) -> Numbered:
        self = super().__new__(cls, index)
        self.place = place
        return self


@DATA_SAMPLERS.register_module()
class NumberedSampler:
    """Numbers what another sampler yields.

    Args:
        dataset: set by mmengine.
        sampler: config of the sampler.
        seed: set by mmengine.
    """

    def __init__(self, dataset: Any, sampler: dict, seed: int | None = None) -> None:
        self.inner = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.dataset, self.epoch = dataset, 0

    def __iter__(self) -> Iterator[Numbered]:
        rank = get_rank()
        for number, index in enumerate(self.inner):
            yield Numbered(index, (self.epoch, rank, number))

    def __len__(self) -> int:
        return len(self.inner)

    def set_epoch(self, epoch: int) -> None:
        """Hands the epoch on; a resumed run draws from there as an uninterrupted one."""
        self.epoch = epoch
        if hasattr(self.inner, 'set_epoch'):
            self.inner.set_epoch(epoch)


@DATASETS.register_module()
class SeededDataset:
    """A data set whose samples are augmented with the random numbers of their place in the run.

    Args:
        dataset: config of the data set.
        seed: of the run.
    """

    def __init__(self, dataset: dict, seed: int) -> None:
        self.inner, self.seed = DATASETS.build(dataset), seed

    def __getitem__(self, index: int) -> Any:
        with seeded(derived_seed(self.seed, *getattr(index, 'place', (int(index),)))):
            return self.inner[int(index)]

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'inner':  # asked for while it is copied, before there is an inner one
            raise AttributeError(name)
        return getattr(self.inner, name)


def seed_data(cfg: Config, seed: int) -> None:
    """Makes the training data of a config, in place, a function of a seed."""
    loader = cfg.train_dataloader
    loader.dataset = dict(type='SeededDataset', dataset=loader.dataset, seed=seed)
    loader.sampler = dict(type='NumberedSampler', sampler=loader.sampler)
