"""A refocused checkpoint of one form becomes one of the other, with the same kernels."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner.checkpoint import get_state_dict

from . import functional as RF
from .checkpoint import build_model, choose_weights, is_refocused_state, load_whole, write_pair
from .config import is_refocused_config, with_form, without_run
from .verify import Comparison, FuseError, compare, example_input
from .version import __version__


@dataclass
class Converted:
    """A checkpoint in another form, and its proof.

    Attributes:
        form: of its maps.
        checkpoint: `state_dict`, `meta`; no optimizer, whose state belongs to the old maps.
        cfg: the config with that form.
        sizes: numbers in the maps before and after.
        comparison: how well the two models agree.
        weights: which weights were taken.
    """

    form: str
    checkpoint: dict[str, Any]
    cfg: Config
    sizes: tuple[int, int]
    comparison: Comparison
    weights: str


def convert_checkpoint(
    cfg: Config,
    checkpoint: dict[str, Any],
    form: str,
    *,
    ema: bool | None = None,
    source: str = '',
    shape: tuple[int, int] | None = None,
) -> Converted:
    """Turns every map of a checkpoint into one form and proves that the model is the same.

    An explicit map becomes `P = F Q`, a compact one `F = P Q'` (:mod:`refconv_mm.functional`).

    Args:
        cfg: the refocused config, of either form.
        checkpoint: as :func:`refconv_mm.checkpoint.read_checkpoint` returns it; not changed.
        form: `'explicit'`, `'compact'` or `'auto'`.
        ema, source, shape: as in :func:`refconv_mm.checkpoint.fuse_checkpoint`.

    Raises:
        ValueError: an unknown form.
        FuseError: checkpoint or config is not refocused, or the result differs.
    """
    if form not in RF.FORMS:
        raise ValueError(f'form must be one of {RF.FORMS}, got {form!r}')
    state, weights = choose_weights(checkpoint, ema)
    for what, refocused in (
        (source or 'the checkpoint', is_refocused_state(state)),
        ('the config', is_refocused_config(cfg)),
    ):
        if not refocused:
            raise FuseError(f'{what} is plain: only a refocused checkpoint, with its config, has maps to convert')
    before = build_model(with_form(cfg, _form_of(state)))
    load_whole(before, state, source or 'the checkpoint')
    new_cfg = without_run(with_form(cfg, form))
    after = build_model(new_cfg)
    load_whole(after, state, source or 'the checkpoint')
    comparison = compare(before, after, example_input(cfg, shape))
    comparison.check()
    meta = copy.deepcopy(dict(checkpoint.get('meta') or {}))
    meta['refconv'] = dict(fused=False, version=__version__, source=str(source), weights=weights, converted_to=form)
    meta['cfg'] = new_cfg.pretty_text
    maps = [sum(v.numel() for k, v in m.state_dict().items() if k.endswith('.refocus')) for m in (before, after)]
    result = dict(meta=meta, state_dict=get_state_dict(after))
    return Converted(form, result, new_cfg, (maps[0], maps[1]), comparison, weights)


def _form_of(state: dict[str, Any]) -> str:
    """The form under which the stored maps load as they are, so that the proof is against these."""
    explicit = {v.ndim == 4 for k, v in state.items() if k.endswith(('.refocus', '.convmap.weight'))}
    return 'auto' if len(explicit) != 1 else 'explicit' if explicit == {True} else 'compact'


def write_converted(converted: Converted, out_dir: str | Path, overwrite: bool = False) -> tuple[Path, Path]:
    """Writes `<form>.pth` and `<form>.py` into a directory; see :func:`refconv_mm.checkpoint.write_pair`."""
    return write_pair(converted.checkpoint, out_dir, converted.form, overwrite)
