"""The loss that a config trains with, on fixed real batches, as a function of the weights.

The images are drawn once, with a seed, from a split of the config, augmented and preprocessed once, and kept. Every
checkpoint then meets the same numbers, so two losses differ by the weights alone.

Batch norm, by mode:

    eval    the running statistics, as stored in the checkpoint. A weight that moves under them is not followed.
    batch   the statistics of the batch itself, as in training; the running ones are neither used nor changed.

Dropout and stochastic depth are off in both.
"""

from __future__ import annotations

import copy
import json
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
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from refconv_mm.checkpoints.fusing import build_model, load_whole
from refconv_mm.openmmlab.config import is_refocused_config, plain_config
from .weights import content_hash

MODES = ('eval', 'batch')
SPLITS = ('train', 'val')


class TaskLoss:
    """The task loss of a model on fixed batches.

    Args:
        model: any module with mmengine's interface: `model(**batch, mode='loss')` and `parse_losses`.
        batches: preprocessed, what `model` takes; kept as they are.
        mode: how batch norm works, see the module's docstring.
        seed: of what the loss itself draws (a two-stage detector samples regions): the same draws at every call.
        what: the batches, in a sentence.
        config: of the model; only for :attr:`fingerprint`.

    Raises:
        ValueError: an unknown mode, or no batch.
    """

    def __init__(
        self, model: nn.Module, batches: Sequence[Any], mode: str = 'eval', seed: int = 0, what: str = '',
        config: Any = None,
    ) -> None:  # fmt: skip
        if mode not in MODES:
            raise ValueError(f'mode must be one of {MODES}, got {mode!r}')
        if not batches:
            raise ValueError('batches must not be empty')
        self.model, self.batches, self.mode = model, list(batches), mode
        self.seed, self.what, self.config = seed, what, config
        model.eval()
        for module in model.modules() if mode == 'batch' else ():
            if isinstance(module, _BatchNorm):
                module.train()
                module.track_running_stats = False  # so that the batch's statistics are not remembered either

    def load(self, state_dict: dict[str, Tensor], what: str = 'the checkpoint') -> None:
        """Loads weights that must fit exactly.

        Raises:
            CheckpointError: the weights belong to another model.
        """
        load_whole(self.model, state_dict, what)

    def loss(self, batch: Any) -> Tensor:
        """The scalar that training minimises on a batch (weight decay is not in it); differentiable."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            call = partial(self.model, **batch) if isinstance(batch, Mapping) else partial(self.model, *batch)
            losses = call(mode='loss')
        total, _ = self.model.parse_losses(losses)  # type: ignore[operator]
        return total

    @torch.no_grad()
    def mean(self) -> float:
        """The mean over the batches; each counts the same."""
        return sum(float(self.loss(batch)) for batch in self.batches) / len(self.batches)

    @staticmethod
    def size(batch: Any) -> int:
        """Images in a batch."""
        return len(batch['inputs'] if isinstance(batch, Mapping) else batch[0])

    @property
    def fingerprint(self) -> str:
        """A hash of all that the loss depends on beside the weights: model, batches, mode, seed, torch."""
        device = next((p.device.type for p in self.model.parameters()), 'cpu')
        parts = [self.mode, self.seed, torch.__version__, device, type(self.model).__name__]
        return content_hash([*parts, json.dumps(self.config, sort_keys=True, default=str), self.batches])


def make_task_loss(
    cfg: Config, batches: int, batch_size: int | None = None, split: str = 'train', seed: int = 0, mode: str = 'eval'
) -> TaskLoss:
    """The task loss of a config's plain model on real batches of a split.

    `train` is what training minimises: the augmentations are drawn once. `val` has no augmentation; there, annotations
    are loaded right after the image and resized with it (evaluation loads them after, at the original scale).

    Args:
        cfg: a plain or refocused config.
        batches: how many.
        batch_size: images in each; by default what the config's data loader has.
        split: one of `SPLITS`.
        seed: chooses the images, in random order (data sets may be sorted by class), and the augmentations.
        mode: one of `MODES`.

    Returns:
        The loss of a model with random weights; :meth:`TaskLoss.load` gives it others.

    Raises:
        ValueError: an unknown split or mode, a split that the config does not have or that is too small, images that
            can't form a batch, no annotations.
    """
    loader = _check(cfg, batches, batch_size, split, mode)
    size = batch_size or int(loader.get('batch_size') or 1)
    if mode == 'batch' and size == 1:
        raise ValueError('--bn batch needs batches of at least 2 images, got --batch-size 1: one image has no spread')
    plain = plain_config(cfg) if is_refocused_config(cfg) else cfg
    model = build_model(plain).to(get_device())
    dataset_cfg = copy.deepcopy(loader['dataset'])
    if split == 'val':
        _annotate_first(dataset_cfg)
        _as_is(model.data_preprocessor)
    dataset = DATASETS.build(dataset_cfg)
    count = len(dataset)
    if count < batches * size:
        raise ValueError(f'the {split} split has {count} images; --batches {batches} of {size} need {batches * size}')
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: batches * size].tolist()
    collate = _collate(loader)
    kept = []
    for start in range(0, len(order), size):
        with fixed_seed(seed + start):
            kept.append(_prepare(model, [dataset[i] for i in order[start : start + size]], collate, split))
    what = f'{batches} x {size} images of the {split} split ({count} images), drawn with seed {seed}'
    return TaskLoss(model, kept, mode, seed, what, plain._cfg_dict.model.to_dict())


def _check(cfg: Config, batches: int, batch_size: int | None, split: str, mode: str) -> Mapping[str, Any]:
    """The data loader's config of a split, once all arguments are as they must be."""
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    if mode not in MODES:
        raise ValueError(f'mode (--bn) must be one of {MODES}, got {mode!r}')
    if batches < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError(f'--batches and --batch-size must be at least 1, got {batches} and {batch_size}')
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise ValueError(f'the config has no {split}_dataloader; pass another --split')
    return loader


def _prepare(model: nn.Module, samples: list[Any], collate: Any, split: str) -> Any:
    """A batch of a data set's samples as the model takes it, on the model's device."""
    try:
        # As in training, also for `val`: mmseg pads label maps only then. See _as_is.
        batch = model.data_preprocessor(collate(samples), True)  # type: ignore[operator]
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f'images of the {split} split do not form a batch ({error}); if they differ in size, pass --batch-size 1'
        ) from error
    packed = batch.get('data_samples') if isinstance(batch, Mapping) else None
    if packed and not all(_annotated(sample) for sample in packed):
        raise ValueError(f'the {split} split loads no annotations in its pipeline: try another --split')
    return batch


def _as_is(preprocessor: Any) -> None:
    """Takes out of a preprocessor what belongs to training: batch augmentations, and mmseg's padding to the crop."""
    preprocessor.batch_augments = None
    if getattr(preprocessor, 'size', None) is not None:
        preprocessor.size, preprocessor.size_divisor = None, 1  # pads to the largest image of the batch


def _annotated(sample: Any) -> bool:
    truths = [value for key, value in sample.items() if key.startswith('gt_')]
    return any(not isinstance(value, BaseDataElement) or value.keys() for value in truths)


def _annotate_first(node: Any) -> None:
    """Moves `LoadAnnotations` to the place after the image is loaded, in every pipeline of a data set's config."""
    if isinstance(node, list | tuple):
        for part in node:
            _annotate_first(part)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key != 'pipeline' or not isinstance(value, list | tuple):
            _annotate_first(value)
            continue
        loads = [step for step in value if _kind(step).startswith('Load')]
        truths = [step for step in loads if _kind(step).endswith('Annotations')]
        images = [step for step in loads if step not in truths]
        node[key] = images + truths + [step for step in value if step not in loads]


def _kind(step: Any) -> str:
    kind = step.get('type', '') if isinstance(step, dict) else ''
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def _collate(loader: Mapping[str, Any]) -> Any:
    """What puts samples together, as mmengine's Runner finds it."""
    options = dict(loader.get('collate_fn') or dict(type='pseudo_collate'))
    kind = options.pop('type')
    return partial(FUNCTIONS.get(kind) if isinstance(kind, str) else kind, **options)


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
