"""Checkpoints: read safely, fused and verified, and written completely or not at all."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner.checkpoint import get_state_dict
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from ..files.errors import CheckpointError, FuseError
from ..files.reading import read_file, write_checkpoint
from ..files.writing import check_free, write_text
from ..openmmlab import compat
from ..openmmlab.config import is_refocused_config, plain_config, without_run
from ..openmmlab.models import build_model, load_whole
from ..surgery import Report, fuse, named_refconvs
from ..version import __version__
from .states import is_random, is_refocused_state
from .verify import Comparison, compare_models, example_input

FUSED = ('fused.pth', 'fused.py')


def read_checkpoint(path: str | Path, trust: bool = False) -> dict[str, Any]:
    """Reads a checkpoint without running code that is in it.

    Args:
        path: a file written by mmengine or `torch.save`.
        trust: run the code that the file asks for. Only for files whose author you trust.

    Returns:
        A dict with at least `state_dict` and `meta`; tensors on the CPU.

    Raises:
        FileNotFoundError: the file does not exist.
        CheckpointError: the file would run code (UntrustedError), is damaged, or is not a checkpoint.
    """
    checkpoint = read_file(path, trust)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'{path} holds a {type(checkpoint).__name__}, not a checkpoint with a state_dict')
    if 'state_dict' not in checkpoint:
        if not checkpoint or not all(isinstance(value, Tensor) for value in checkpoint.values()):
            raise CheckpointError(f'{path} has no state_dict; it holds: {", ".join(map(str, list(checkpoint)[:8]))}')
        checkpoint = dict(state_dict=OrderedDict(checkpoint))
    checkpoint['meta'] = checkpoint.get('meta') or {}
    for key in ('state_dict', 'meta'):
        if not isinstance(checkpoint[key], dict) or not all(isinstance(name, str) for name in checkpoint[key]):
            raise CheckpointError(f'{path} is no checkpoint: its {key} is not a dict with names as keys')
    consume_prefix_in_state_dict_if_present(checkpoint['state_dict'], 'module.')  # of DDP, as mmengine's loader
    return checkpoint


def choose_weights(checkpoint: dict[str, Any], ema: bool | None = None) -> tuple[dict[str, Tensor], str]:
    """The averaged or the trained weights of a checkpoint.

    mmengine's EMAHook swaps both before it saves: a checkpoint with an `ema_state_dict` has the *averaged* weights
    in `state_dict` and the trained ones in `ema_state_dict`.

    Args:
        ema: True for the averaged weights, False for the trained ones, None for the averaged if there are any.

    Returns:
        The state dict, and `'averaged (EMA)'` or `'trained'`.

    Raises:
        CheckpointError: `ema` is True and the checkpoint has no averaged weights.
    """
    state, swapped = checkpoint['state_dict'], checkpoint.get('ema_state_dict')
    if swapped is None:
        if ema:
            raise CheckpointError('--ema: the checkpoint has no averaged weights (it was trained without EMAHook)')
        return state, 'trained'
    if ema is not False:
        return state, 'averaged (EMA)'
    trained = OrderedDict((k.removeprefix('module.'), v) for k, v in swapped.items() if k.startswith('module.'))
    trained._metadata = getattr(state, '_metadata', OrderedDict())  # type: ignore[attr-defined]
    return trained, 'trained'


@dataclass
class Fused:
    """A fused checkpoint and its verification.

    Attributes:
        checkpoint: `state_dict` and `meta`, which are written to disk.
        cfg: the plain config.
        report: the fused layers.
        comparison: the differences between the refocused and the plain model.
    """

    checkpoint: dict[str, Any]
    cfg: Config
    report: Report
    comparison: Comparison


def fuse_checkpoint(
    cfg: Config,
    checkpoint: dict[str, Any],
    *,
    ema: bool | None = None,
    source: str = '',
    shape: tuple[int, int] | None = None,
) -> Fused:
    """Fuses a refocused checkpoint and verifies that the result computes the same.

    The verification loads the fused weights into the model that the plain config builds, and compares the outputs.

    Args:
        cfg: the refocused config.
        checkpoint: as :func:`read_checkpoint` returns it; not changed.
        ema: as in :func:`choose_weights`.
        source: the path of the checkpoint, for the record.
        shape: height and width of the input of the verification; by default the config's test size.

    Raises:
        FuseError: the checkpoint is fused or plain, the config is plain, or the result differs.
        CheckpointError: the checkpoint belongs to another model.
    """
    state, weights = choose_weights(checkpoint, ema)
    meta, name = dict(checkpoint.get('meta') or {}), source or 'the checkpoint'
    _check_fusable(cfg, state, meta, name)
    refocused = build_model(cfg)
    load_whole(refocused, state, name)
    if untrained := [place for place, layer in named_refconvs(refocused) if is_random(layer)]:
        raise FuseError(
            f'{name} has no update of {len(untrained)} layers that the config initializes at random '
            f'({untrained[0]}, ...): pass the config that it was trained with'
        )
    fused = copy.deepcopy(refocused)
    report = fuse(fused)
    plain_cfg = without_run(plain_config(cfg))
    inputs = example_input(cfg, shape)
    plain = build_model(plain_cfg)
    load_whole(plain, fused.state_dict(), 'the fused state')
    comparison = compare_models(refocused, plain, inputs)
    comparison.check()
    layer, worst = comparison.worst
    meta['refconv'] = dict(
        fused=True, version=__version__, source=str(source), weights=weights, layers=report.matched,
        worst_layer=layer, worst_difference=worst, model_difference=comparison.model,
    )  # fmt: skip
    meta['cfg'] = compat.with_corrections(plain_cfg.pretty_text)
    return Fused(dict(meta=meta, state_dict=get_state_dict(plain)), plain_cfg, report, comparison)


def _check_fusable(cfg: Config, state: dict[str, Tensor], meta: dict[str, Any], name: str) -> None:
    """Raises a FuseError unless checkpoint and config are refocused."""
    if (meta.get('refconv') or {}).get('fused'):
        raise FuseError(f'{name} is fused already; test it with the config written beside it')
    if not is_refocused_state(state):
        raise FuseError(
            f'{name} is plain: it has no updates of RefConv layers, so there is nothing to fuse. '
            'Was it trained with RefConv?'
        )
    if not is_refocused_config(cfg):
        raise FuseError(
            f'{name} is refocused and the config is plain: pass the config that the checkpoint was trained with '
            "(it has conv_cfg=dict(type='RefConv') or RefocusedBackbone), or fuse it first (refconv fuse CONFIG CKPT)"
        )


def as_plain(
    cfg: Config,
    checkpoint: dict[str, Any],
    *,
    ema: bool | None = None,
    source: str = '',
    shape: tuple[int, int] | None = None,
) -> tuple[Config, dict[str, Tensor], str]:
    """The plain form of a checkpoint: a refocused one is fused in memory, a fused or plain one stays as it is.

    Args:
        cfg: a refocused or a plain config.
        checkpoint: as :func:`read_checkpoint` returns it; not changed.
        ema, source, shape: as in :func:`fuse_checkpoint`.

    Returns:
        The plain config, a state dict that fits its model exactly, and a description of the checkpoint, in a sentence.

    Raises:
        FuseError: the checkpoint is refocused and the config is plain, or fusing failed.
    """
    state, weights = choose_weights(checkpoint, ema)
    if is_refocused_state(state):
        fused = fuse_checkpoint(cfg, checkpoint, ema=ema, source=source, shape=shape)
        text = f'a refocused checkpoint, its {weights} weights, fused in memory; {fused.comparison}'
        return plain_config(cfg), fused.checkpoint['state_dict'], text
    record = checkpoint['meta'].get('refconv') or {}
    text = f'a checkpoint that was fused from {record.get("source")}' if record.get('fused') else 'a plain checkpoint'
    if 'ema_state_dict' in checkpoint:
        text += f', its {weights} weights'
    if is_refocused_config(cfg):
        cfg = plain_config(cfg)
        text += '; the config is refocused, so the plain one behind it is used'
    return cfg, state, text


def write_fused(fused: Fused, out_dir: str | Path, overwrite: bool = False) -> tuple[Path, Path]:
    """Writes `fused.pth`, and beside it `fused.py`, the config that the checkpoint carries in `meta['cfg']`.

    Raises:
        FileExistsError: one of the files exists and `overwrite` is False; nothing was written.
    """
    out_dir = Path(out_dir)
    paths = out_dir / FUSED[0], out_dir / FUSED[1]
    check_free(out_dir, FUSED, overwrite)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_checkpoint(paths[0], fused.checkpoint)
    # `cfg.dump` would write the same text, but formats it again, which takes most of a second.
    write_text(paths[1], fused.checkpoint['meta']['cfg'])
    return paths
