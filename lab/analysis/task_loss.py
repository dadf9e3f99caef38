"""The loss that a config trains with, on fixed real batches, as a function of the weights.

The images are drawn once, with a seed, from the training split of the config, augmented and preprocessed once, and
kept. Every checkpoint then meets the same numbers, so two losses differ by the weights alone. Batch norm takes its
running statistics, as stored in the checkpoint; dropout and stochastic depth are off.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor, nn
from torch.func import functional_call

from refconv_mm.checkpoints.fusing import as_plain, read_checkpoint
from refconv_mm.openmmlab.config import is_refocused_config, plain_config
from refconv_mm.openmmlab.models import build_model, load_whole


class TaskLoss:
    """The task loss of a model on fixed batches.

    Args:
        model: any module with mmengine's interface: `model(**batch, mode='loss')` and `parse_losses`.
        batches: preprocessed, as `model` takes them.
        seed: of the draws of the loss itself (a two-stage detector samples regions): the same at every call.
        description: the batches, in a sentence.

    Raises:
        ValueError: no batch.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Any], seed: int = 0, description: str = '') -> None:
        if not batches:
            raise ValueError('batches must not be empty')
        self.model, self.batches, self.seed, self.description = model.eval(), list(batches), seed, description

    def load(self, cfg: Config, path: str, name: str, trust: bool = False) -> dict[str, str]:
        """Loads a plain, fused or refocused checkpoint; a refocused one is fused in memory and proven.

        Returns:
            The checkpoint's `name`, `path` and `content` (in a sentence), for reports.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it belongs to another model, or can't be read.
        """
        _, state, content = as_plain(cfg, read_checkpoint(path, trust), source=str(path))
        load_whole(self.model, state, str(path))
        return dict(name=name, path=str(path), content=content)

    def loss(self, batch: Any, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar that training minimises on a batch (weight decay is not in it); differentiable.

        Args:
            weights: in place of parameters of the model, by name.
        """
        args, options = ((), dict(batch)) if isinstance(batch, Mapping) else (tuple(batch), {})
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            losses = functional_call(self.model, dict(weights or {}), args, {**options, 'mode': 'loss'})
        total, _ = self.model.parse_losses(losses)  # type: ignore[operator]
        return total


def make_task_loss(cfg: Config, batches: int, batch_size: int | None = None, seed: int = 0) -> TaskLoss:
    """The task loss of a config's plain model on real training batches, whose augmentations are drawn once.

    Args:
        cfg: a plain or refocused config.
        batches: their number.
        batch_size: images in each; by default that of the config's data loader.
        seed: chooses the images, in random order (data sets may be sorted by class), and the augmentations.

    Returns:
        The loss of a model with random weights; :meth:`TaskLoss.load` gives it others.

    Raises:
        ValueError: no batch, too few images, or images that can't form a batch.
    """
    loader = cfg.train_dataloader
    size = batch_size or int(loader.get('batch_size') or 1)
    if batches < 1:
        raise ValueError(f'--batches must be at least 1, got {batches}')
    model = build_model(plain_config(cfg) if is_refocused_config(cfg) else cfg).to(get_device())
    dataset = DATASETS.build(copy.deepcopy(loader['dataset']))
    count = len(dataset)
    if count < batches * size:
        raise ValueError(f'the training split has {count} images; --batches {batches} of {size} need {batches * size}')
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: batches * size].tolist()
    options = dict(loader.get('collate_fn') or dict(type='pseudo_collate'))
    kind = options.pop('type')
    collate = partial(FUNCTIONS.get(kind) if isinstance(kind, str) else kind, **options)
    kept = []
    for start in range(0, len(order), size):
        with fixed_seed(seed + start):
            samples = [dataset[i] for i in order[start : start + size]]
            try:
                kept.append(model.data_preprocessor(collate(samples), True))  # type: ignore[operator]
            except (RuntimeError, AssertionError) as error:
                raise ValueError(
                    f'images do not form a batch ({error}); if they differ in size, pass --batch-size 1'
                ) from error
    description = f'{batches} x {size} images of the training split ({count} images), drawn with seed {seed}'
    return TaskLoss(model, kept, seed, description)


@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Random numbers follow from a seed inside; afterwards every generator is where it was."""
    state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(state[0])
            np.random.set_state(state[1])
