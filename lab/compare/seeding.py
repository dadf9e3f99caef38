"""Random numbers that depend on the seed and the step only, so that they are the same in every arm.

mmengine seeds once, and everything draws from one stream. There a random start of the updates changes the dropout
masks, and with `num_workers=0` the augmentation too; an interrupted run continues with other numbers. Here each sample
and each step of the model has a seed that follows from its place in the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.registry import DATA_SAMPLERS, DATASETS

from refconv_mm.hooks.seeds import derived_seed, seed_cpu


class Numbered(int):
    """An index into a data set, with its place in the run: (epoch, process, number)."""

    place: tuple[int, ...]

    def __new__(cls, index: int, place: tuple[int, ...] = ()) -> Numbered:
        self = super().__new__(cls, index)
        self.place = place
        return self


@DATA_SAMPLERS.register_module()
class LabNumberedSampler:
    """Numbers the indices that another sampler yields.

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
        """Sets the epoch here and in the inner sampler, so that a resumed run draws what an uninterrupted one does."""
        self.epoch = epoch
        if hasattr(self.inner, 'set_epoch'):
            self.inner.set_epoch(epoch)


@DATASETS.register_module()
class LabSeededDataset:
    """A data set that seeds the augmentation of each sample by the sample's place in the run.

    Args:
        dataset: config of the data set.
        seed: of the run.
    """

    def __init__(self, dataset: dict, seed: int) -> None:
        self.inner, self.seed = DATASETS.build(dataset), seed

    def __getitem__(self, index: int) -> Any:
        # The generators are not restored (numpy needs 80 us for it): each step of the model seeds them again.
        seed_cpu(derived_seed(self.seed, *getattr(index, 'place', (int(index),))))
        return self.inner[int(index)]

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'inner':  # copying asks for it before `inner` is set
            raise AttributeError(name)
        return getattr(self.inner, name)


def seed_data(cfg: Config, seed: int) -> None:
    """Makes the training data of a config depend on a seed only, in place."""
    loader = cfg.train_dataloader
    loader.dataset = dict(type='LabSeededDataset', dataset=loader.dataset, seed=seed)
    loader.sampler = dict(type='LabNumberedSampler', sampler=loader.sampler)
