"""The weights of checkpoints for measurements of the whole model, and hashes that tell them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import Tensor

from refconv_mm.checkpoints.fusing import as_plain, read_checkpoint


def read_weights(
    cfg: Config, path: str, name: str = '', trust: bool = False
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Reads a plain, fused or refocused checkpoint; a refocused one is fused in memory and proven.

    Returns:
        What reports keep of it (`name`, `path`, and what it was), and the weights as the plain model takes them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is refocused and the config is not, can't be read, or has batch norm folded.
    """
    plain = as_plain(cfg, read_checkpoint(path, trust), source=str(path))
    if plain.folded_bn:
        raise ValueError(f'{path} has batch norm folded into its kernels, so no plain model takes it; fuse it again')
    return dict(name=name, path=str(path), what=plain.what), plain.state_dict


def names_of(paths: Sequence[str], names: str | None = None, what: str = 'checkpoints') -> list[str]:
    """What checkpoints (or whatever `what` says) are called.

    Args:
        names: separated by commas; by default the files', without suffix.

    Raises:
        ValueError: not as many names as checkpoints, or two the same.
    """
    called = [name.strip() for name in names.split(',')] if names else [Path(path).stem for path in paths]
    if len(called) != len(paths) or len(set(called)) != len(called) or not all(called):
        raise ValueError(
            f'{len(paths)} {what} need as many different names, got {called}; '
            'pass --names before,after (in the order of the files)'
        )
    return called


@contextmanager
def kept(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Hands out copies of tensors that are written to inside; afterwards they are what they were, bit for bit."""
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield saved
    finally:
        with torch.no_grad():
            for tensor, copy in zip(tensors, saved, strict=True):
                tensor.copy_(copy)


def content_hash(value: Any) -> str:
    """A hash of a nest of tensors (names, types and values), data samples (their annotations) and plain values."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Puts a nest of tensors, data samples and plain values into a hash."""
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        digest.update(f'{array.dtype}{tuple(array.shape)}'.encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy() if array.numel() else b'')
    elif isinstance(value, BaseDataElement):
        _feed(digest, dict(value.items()))  # the annotations; paths and the like stay out
    elif isinstance(value, Mapping):
        digest.update(f'{{{len(value)}}}'.encode())
        for key in sorted(value, key=str):  # a data sample keeps its fields in a set, whose order is any
            digest.update(f'{key}:'.encode())
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(f'[{len(value)}]'.encode())
        for part in value:
            _feed(digest, part)
    elif isinstance(value, str | bytes | int | float | None):
        digest.update(repr(value).encode())
    else:
        digest.update(type(value).__qualname__.encode())  # the repr of an object may name its address
