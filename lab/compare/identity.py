"""The identity of a run: the commit, the config and the start that decide its result, and the versions."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.openmmlab.versions import FORKS, distribution_version

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'mmpretrain')


def run_identity(cfg: Config, start: str | None) -> dict[str, str]:
    """The four parts that decide the result of a run.

    Args:
        cfg: the config of the run.
        start: the checkpoint that the run starts from.

    Returns:
        `commit`, `config`, `start` (hashes) and `versions`.
    """
    weights = '' if start is None else weights_hash(start)
    return dict(commit=commit(), config=config_hash(cfg), start=weights, versions=versions())


def key_of(parts: Mapping[str, str]) -> str:
    """One hash of the four parts."""
    return _hash(json.dumps(dict(parts), sort_keys=True))


@cache
def commit() -> str:
    """The commit of the checkout, with `-dirty` where a tracked Python file differs from it."""
    try:
        head = _git('rev-parse', 'HEAD')
        return head + '-dirty' * bool(_git('status', '--porcelain', '--untracked-files=no', '--', '*.py'))
    except (OSError, subprocess.CalledProcessError):
        return 'not under git'


def _git(*words: str) -> str:
    command = ['git', '-C', str(ROOT), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def config_hash(cfg: Config) -> str:
    """The hash of the values of a config without its work dir."""
    values = {key: value for key, value in cfg._cfg_dict.to_dict().items() if key != 'work_dir'}
    return _hash(json.dumps(values, sort_keys=True, default=str))


def weights_hash(path: str | Path) -> str:
    """The hash of the weights in a checkpoint: their names, shapes, types and bytes."""
    path = Path(path).resolve()
    stat = path.stat() if path.is_file() else None
    return _weights_hash(path, stat.st_mtime_ns if stat else 0, stat.st_size if stat else 0)


@cache
def _weights_hash(path: Path, time: int, size: int) -> str:
    state: dict[str, Tensor] = read_checkpoint(path)['state_dict']
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f'{name}{tuple(tensor.shape)}{tensor.dtype}'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@cache
def versions() -> str:
    """The versions of Python, torch and the libraries."""
    found = [(name, distribution_version(name)) for name in [*DISTRIBUTIONS, *(fork[0] for fork in FORKS.values())]]
    return ', '.join([f'python {platform.python_version()}', *(f'{name} {have}' for name, have in found if have)])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
