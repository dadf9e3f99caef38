"""Checkpoints: read safely, fuse with proof, write whole or not at all."""

from __future__ import annotations

import copy
import pickle
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv.cnn
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import get_state_dict
from torch import Tensor, nn

from . import compat
from .config import drop_pretrained, is_refocused_config, plain_config, without_run
from .files import check_free, write_whole
from .stored import layer_of
from .surgery import Report, bare, fuse
from .verify import FOLDED_TOLERANCE, Comparison, FuseError, compare, example_input
from .version import __version__


def read_checkpoint(path: str | Path, trust: bool = False) -> dict[str, Any]:
    """Reads a checkpoint without running what is in it.

    Args:
        path: a file written by mmengine or `torch.save`.
        trust: load everything that the file asks for, also code. Only for files whose maker you trust.

    Returns:
        A dict with at least `state_dict` and `meta`; tensors on the CPU.

    Raises:
        FileNotFoundError: no such file.
        FuseError: the file would run code, is damaged, or is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint at {path}')
    compat.mmengine_checkpoint_globals()
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=not trust)
    except pickle.UnpicklingError as error:
        # torch says the same of a file that asks for a function and of one that is no pickle; only the first names it.
        wanted = re.search(r'GLOBAL (.+?) was not an allowed|(GLOBAL getattr on .+? stores)|(Trying to .+)', str(error))
        if wanted is None:
            raise FuseError(f'{path} is damaged or no PyTorch checkpoint') from error
        raise FuseError(
            f'{path} holds more than weights and what mmengine stores, and loading it could run code: it asks for '
            f'{next(filter(None, wanted.groups()))}. If you trust its maker, pass --trust.'
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise FuseError(f'{path} is damaged or no PyTorch checkpoint: {error}') from error
    if not isinstance(checkpoint, dict):
        raise FuseError(f'{path} holds a {type(checkpoint).__name__}, not a checkpoint with a state_dict')
    if 'state_dict' not in checkpoint:
        if not checkpoint or not all(isinstance(value, Tensor) for value in checkpoint.values()):
            raise FuseError(f'{path} has no state_dict; it holds: {", ".join(map(str, list(checkpoint)[:8]))}')
        checkpoint = dict(state_dict=OrderedDict(checkpoint))
    checkpoint.setdefault('meta', {})
    checkpoint['state_dict'] = _without_wrapper(checkpoint['state_dict'])
    return checkpoint


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys without the `module.` that DDP puts before them, as mmengine's loader reads them."""
    if not state or not all(key.startswith('module.') for key in state):
        return state
    stripped = OrderedDict((key.removeprefix('module.'), value) for key, value in state.items())
    metadata = getattr(state, '_metadata', {})
    stripped._metadata = OrderedDict(  # type: ignore[attr-defined]
        (key.removeprefix('module').removeprefix('.'), value) for key, value in metadata.items() if key
    )
    return stripped


def is_refocused_state(state_dict: dict[str, Tensor]) -> bool:
    """Whether a state dict holds what RefConv layers train."""
    return any(layer_of(key) is not None for key in state_dict)


def choose_weights(checkpoint: dict[str, Any], ema: bool | None = None) -> tuple[dict[str, Tensor], str]:
    """The averaged or the trained weights of a checkpoint.

    mmengine's EMAHook swaps before it saves: where there is an `ema_state_dict`, the *averaged* weights stand
    under `state_dict` and the trained ones under `ema_state_dict`.

    Args:
        ema: True and False ask for the averaged and the trained weights; None takes the averaged where
            there are any.

    Returns:
        The state dict, and `'averaged (EMA)'` or `'trained'`.

    Raises:
        FuseError: averaged weights were asked for and there are none.
    """
    state, swapped = checkpoint['state_dict'], checkpoint.get('ema_state_dict')
    if swapped is None:
        if ema:
            raise FuseError('--ema: the checkpoint has no averaged weights (it was trained without EMAHook)')
        return state, 'trained'
    if ema is not False:
        return state, 'averaged (EMA)'
    trained = OrderedDict((k.removeprefix('module.'), v) for k, v in swapped.items() if k.startswith('module.'))
    trained._metadata = getattr(state, '_metadata', OrderedDict())  # type: ignore[attr-defined]
    return trained, 'trained'


def build_model(cfg: Config) -> nn.Module:
    """The model of a config, in eval mode, with random weights: nothing is fetched or loaded."""
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    # A copy: mmseg's segmentors write into their config, and building from it again would fail.
    model_cfg = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:  # as mmengine's Runner does
        model_cfg.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    drop_pretrained(model_cfg)
    model = MODELS.build(model_cfg)
    compat.apply()
    return model.eval()


def load_whole(model: nn.Module, state_dict: dict[str, Tensor], what: str) -> None:
    """Loads a state dict that must fit exactly.

    Raises:
        FuseError: it belongs to another model; says what does not fit.
    """
    model, state = bare(model), copy.copy(state_dict)
    own = model.state_dict()
    for key in own:
        if key.endswith('num_batches_tracked') and key not in state:  # absent from converted weights; unused
            state[key] = own[key]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = '\n  '.join(line if len(line) < 400 else line[:400] + ' ...' for line in lines[:8])
        raise FuseError(f'{what} does not fit the model of the config:\n  {detail}') from error


@dataclass
class Fused:
    """A fused checkpoint and its proof.

    Attributes:
        checkpoint: `state_dict`, `meta`; what is written to disk.
        cfg: the plain config.
        report: what was fused.
        comparison: how well it agrees.
        weights: which weights were taken.
    """

    checkpoint: dict[str, Any]
    cfg: Config
    report: Report
    comparison: Comparison
    weights: str


def fuse_checkpoint(
    cfg: Config,
    checkpoint: dict[str, Any],
    *,
    ema: bool | None = None,
    fold_bn: bool = False,
    source: str = '',
    shape: tuple[int, int] | None = None,
) -> Fused:
    """Fuses a refocused checkpoint and proves that the result is the same model.

    The proof is made on the plain model that the plain config builds, loaded with what will be written.

    Args:
        cfg: the refocused config.
        checkpoint: as :func:`read_checkpoint` returns it; not changed.
        ema: as in :func:`choose_weights`.
        fold_bn: also fold batch norm into the convolutions, for export. Such weights load only into a model
            that was folded the same way (`mmcv.cnn.fuse_conv_bn`).
        source: where the checkpoint came from, for the record.
        shape: height and width of the input of the proof; by default what the config tests with.

    Raises:
        FuseError: the checkpoint is fused, plain, or of another model; or the result differs.
    """
    state, weights = choose_weights(checkpoint, ema)
    meta = dict(checkpoint.get('meta') or {})
    if (meta.get('refconv') or {}).get('fused'):
        raise FuseError(f'{source or "the checkpoint"} is fused already; test it with the config written beside it')
    if not is_refocused_state(state):
        raise FuseError(
            f'{source or "the checkpoint"} is plain (it has no refocusing maps): there is nothing to fuse. '
            'Was it trained with RefConv?'
        )
    if not is_refocused_config(cfg):
        raise FuseError(
            'the checkpoint is refocused and the config is plain: pass the config it was trained with '
            "(the one with conv_cfg=dict(type='RefConv') or RefocusedBackbone)"
        )
    refocused = build_model(cfg)
    load_whole(refocused, state, source or 'the checkpoint')
    fused = copy.deepcopy(refocused)
    report = fuse(fused)
    plain_cfg = without_run(plain_config(cfg))
    inputs = example_input(cfg, shape)
    plain = build_model(plain_cfg)
    load_whole(plain, fused.state_dict(), 'the fused state')
    if fold_bn:
        mmcv.cnn.fuse_conv_bn(plain)
        comparison = _compare_folded(refocused, fused, plain, inputs)
    else:
        comparison = compare(refocused, plain, inputs)
    comparison.check()
    name, worst = comparison.worst
    meta['refconv'] = dict(
        fused=True,
        folded_bn=fold_bn,
        version=__version__,
        source=str(source),
        weights=weights,
        layers=report.matched,
        worst_layer=name,
        worst_difference=worst,
        model_difference=comparison.model,
    )
    meta['cfg'] = plain_cfg.pretty_text
    result = dict(meta=meta, state_dict=get_state_dict(plain))
    return Fused(result, plain_cfg, report, comparison, weights)


def _compare_folded(refocused: nn.Module, fused: nn.Module, folded: nn.Module, inputs: Tensor) -> Comparison:
    """Layers against the fused model, the whole against the folded one (whose layers compute something else)."""
    layers = compare(refocused, fused, inputs)
    layers.check()
    whole = compare(refocused, folded, inputs)
    whole.layers, whole.model_tolerance = layers.layers, FOLDED_TOLERANCE
    return whole


@dataclass
class Plain:
    """A checkpoint in the form that the plain model takes.

    Attributes:
        cfg: the plain config.
        state_dict: fits its model exactly.
        what: what the checkpoint was, in a sentence.
        fused: whether it was refocused once.
        folded_bn: whether batch norm is folded; the model must then be folded before it is loaded.
    """

    cfg: Config
    state_dict: dict[str, Tensor]
    what: str
    fused: bool
    folded_bn: bool


def as_plain(
    cfg: Config,
    checkpoint: dict[str, Any],
    *,
    ema: bool | None = None,
    source: str = '',
    shape: tuple[int, int] | None = None,
) -> Plain:
    """A refocused checkpoint fused in memory, a fused or plain one as it is.

    Args:
        cfg: a refocused or a plain config.
        checkpoint: as :func:`read_checkpoint` returns it; not changed.
        ema, source, shape: as in :func:`fuse_checkpoint`.

    Raises:
        FuseError: refocused while the config is plain, or fusing failed.
    """
    state, weights = choose_weights(checkpoint, ema)
    record = checkpoint['meta'].get('refconv') or {}
    if is_refocused_state(state):
        if not is_refocused_config(cfg):
            raise FuseError(
                f'{source or "the checkpoint"} is refocused and the config is plain. Pass the config it was trained '
                'with, or fuse it first with tools/fuse.py and take fused.pth.'
            )
        fused = fuse_checkpoint(cfg, checkpoint, ema=ema, source=source, shape=shape)
        what = f'a refocused checkpoint, fused in memory ({weights} weights): {fused.comparison}'
        return Plain(plain_config(cfg), fused.checkpoint['state_dict'], what, fused=True, folded_bn=False)
    what = f'a fused checkpoint, as it is (fused from {record.get("source")})' if record.get('fused') else ''
    what = what or f'a plain checkpoint, as it is ({weights} weights)'
    if is_refocused_config(cfg):
        cfg = plain_config(cfg)
        what += '; the config is refocused, so the plain one behind it is used'
    return Plain(cfg, state, what, bool(record.get('fused')), bool(record.get('folded_bn')))


def write_fused(fused: Fused, out_dir: str | Path, overwrite: bool = False) -> tuple[Path, Path]:
    """Writes `fused.pth` and `fused.py` into a directory; see :func:`write_pair`."""
    return write_pair(fused.checkpoint, out_dir, 'fused', overwrite)


def write_pair(
    checkpoint: dict[str, Any], out_dir: str | Path, stem: str, overwrite: bool = False
) -> tuple[Path, Path]:
    """Writes `stem.pth`, and the config that it carries in `meta['cfg']` beside it as `stem.py`.

    Raises:
        FileExistsError: either is there and `overwrite` is False; nothing was written.
    """
    out_dir = Path(out_dir)
    paths = out_dir / f'{stem}.pth', out_dir / f'{stem}.py'
    check_free(out_dir, [path.name for path in paths], overwrite)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_whole(paths[0], lambda temporary: torch.save(checkpoint, temporary))
    # What `cfg.dump` would write; the text is at hand, and formatting it takes most of a second.
    text = checkpoint['meta']['cfg']
    write_whole(paths[1], lambda temporary: Path(temporary).write_text(text, encoding='utf-8'))
    return paths
