"""SeenDataHook: a hash of the data that a run trains on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

KEY = 'seen_data'
_NAMES = ('img_path', 'img_id', 'sample_idx')


class SeenDataHook(Hook):
    """Hashes the names of the samples and the augmented inputs of every step.

    Two runs with equal hashes trained on the same images in the same order, with the same augmentation to the last
    bit. The message hub stores the hashes, so a resumed run continues them.
    """

    # Before hooks that change a batch in place.
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        if runner.iter == 0 or KEY not in runner.message_hub.runtime_info:
            runner.message_hub.update_info(KEY, dict(order='', inputs='', steps=0), resumed=True)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        seen = runner.message_hub.get_info(KEY)
        names, inputs = batch_names(data_batch), hashlib.sha256(seen['inputs'].encode())
        hash_tensors(data_batch['inputs'] if isinstance(data_batch, Mapping) else data_batch, inputs)
        order = hashlib.sha256(f'{seen["order"]}/{names}'.encode())
        new = dict(order=order.hexdigest(), inputs=inputs.hexdigest(), steps=seen['steps'] + 1)
        runner.message_hub.update_info(KEY, new, resumed=True)


def seen_data(runner: Runner) -> dict[str, Any]:
    """`order`, `inputs` (both hexadecimal) and `steps`."""
    return dict(runner.message_hub.get_info(KEY))


def batch_names(data_batch: Any) -> list[str]:
    """Path, id and index of each sample of a batch, as far as its metainfo has them."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    samples = samples if isinstance(samples, Sequence) else []
    infos = [getattr(sample, 'metainfo', {}) for sample in samples]
    return ['|'.join(str(info[name]) for name in _NAMES if name in info) for info in infos]


def hash_tensors(node: Any, digest: Any) -> None:
    """Updates a hash with shapes, types and bytes of all tensors in nested lists and dicts, in their order."""
    if isinstance(node, Mapping):
        for key in sorted(node, key=str):
            hash_tensors(node[key], digest)
    elif isinstance(node, list | tuple):
        for item in node:
            hash_tensors(item, digest)
    elif isinstance(node, Tensor):
        digest.update(f'{tuple(node.shape)}{node.dtype}'.encode())
        digest.update(np.ascontiguousarray(node.detach().cpu().numpy()).data)
