"""The kernels of checkpoints, side by side: read from any state dict, matched by name, refused where they differ.

A state dict does not say what its 4-d tensors are. A tensor under `<layer>.weight` with a kernel larger than 1x1 is
taken for a convolution's; one with a single input channel for a depthwise one's, any other for a dense one's. So the
nets need no RefConv, nor a config unless they are refocused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from refconv_mm.commands.arguments import open_config
from refconv_mm.checkpoints.fusing import as_plain, choose_weights, is_refocused_state, read_checkpoint
from refconv_mm.openmmlab.config import is_refocused_config
from refconv_mm.checkpoints.states import layer_of
from .layers import settings_of
from .text import some
from .weights import names_of


@dataclass
class KernelSet:
    """The kernels of one checkpoint.

    Attributes:
        name: what it is called in tables and figures.
        path: where it was read.
        what: what it was, in a sentence.
        kernels: by layer, in the order of the state dict; `(O, I/g, KH, KW)`, as a plain convolution holds them.
        bases: the frozen kernels of a refocused checkpoint; empty for others.
        folded_bn: whether batch norm is folded into the kernels.
        refocused: the layers that were refocused, as far as the checkpoint or its config tells.
    """

    name: str
    path: str
    what: str
    kernels: dict[str, Tensor]
    bases: dict[str, Tensor] = field(default_factory=dict)
    folded_bn: bool = False
    refocused: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, str]:
        """What reports keep of it."""
        return dict(name=self.name, path=self.path, what=self.what)


def kernels_of(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The convolution kernels larger than 1x1 of a state dict, by layer name."""
    found = {}
    for key, value in state_dict.items():
        layer, _, last = key.rpartition('.')
        kernel = last == 'weight' and isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point()
        if kernel and tuple(value.shape[2:]) != (1, 1) and value.numel():
            found[layer or 'weight'] = value.detach()
    return found


def read_kernels(path: str | Path, name: str, cfg: Config | None = None, trust: bool = False) -> KernelSet:
    """Reads a plain, fused or refocused checkpoint.

    Args:
        path: the file; averaged (EMA) weights are taken where it has them.
        name: what to call it.
        cfg: the config that it was trained with; only a refocused one needs it, and is fused in memory, proven.
        trust: as in :func:`refconv_mm.checkpoints.fusing.read_checkpoint`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: refocused without its config, no kernel in it, or one that is not finite.
    """
    checkpoint = read_checkpoint(path, trust)
    state, weights = choose_weights(checkpoint)
    bases: dict[str, Tensor] = {}
    record = checkpoint['meta'].get('refconv') or {}
    what, folded = f'plain ({weights} weights)', bool(record.get('folded_bn'))
    refocused = tuple(record.get('layers') or ())
    if is_refocused_state(state):
        if cfg is None:
            raise ValueError(
                f'{path} is refocused, and its kernels follow from its maps: pass the config it was trained with as '
                '--config, or fuse it first with tools/fuse.py'
            )
        mapped = [layer_of(key) for key in state]
        bases = {layer: kernel for layer, kernel in kernels_of(state).items() if layer in mapped}
        plain = as_plain(cfg, checkpoint, source=str(path))
        state, what, folded, refocused = plain.state_dict, plain.what, plain.folded_bn, tuple(plain.layers)
    elif record.get('fused'):
        what = f'fused from {record.get("source")}'
    kernels = kernels_of(state)
    if not kernels:
        raise ValueError(f'{path} has no convolution kernel larger than 1x1 (4-d tensors under "<layer>.weight")')
    if bad := [layer for layer, kernel in kernels.items() if not torch.isfinite(kernel).all()]:
        raise ValueError(f'{path}: kernels that are not finite, so training had failed: {some(bad)}')
    return KernelSet(name, str(path), what, kernels, bases, folded, refocused)


def choose(kernels: KernelSet, include: Sequence[str] = ('*',), exclude: Sequence[str] = ()) -> KernelSet:
    """A set's layers whose names match a glob of `include` and none of `exclude`.

    Raises:
        ValueError: none is left.
    """
    names = list(kernels.kernels)
    left = {name for name in names if any(fnmatchcase(name, glob) for glob in include)}
    left -= {name for name in names if any(fnmatchcase(name, glob) for glob in exclude)}
    if not left:
        raise ValueError(
            f'--include {list(include)} --exclude {list(exclude)} leave no layer of {kernels.path}; it has: '
            f'{some(names)}'
        )
    chosen, bases = ({k: v for k, v in part.items() if k in left} for part in (kernels.kernels, kernels.bases))
    return replace(kernels, kernels=chosen, bases=bases)


def refocused_layers(sets: Sequence[KernelSet], cfg: Config | None = None) -> list[str]:
    """The layers that were refocused in any of the checkpoints, by the config or by their own records."""
    if cfg is not None and is_refocused_config(cfg):
        return list(settings_of(cfg))
    return list(dict.fromkeys(name for each in sets for name in each.refocused))


def about(chosen: KernelSet, whole: KernelSet, layers: Sequence[str], asked: bool) -> str:
    """Which layers of a set an analysis is about, in a sentence."""
    share = f'{len(chosen.kernels)} of the {len(whole.kernels)} layers with kernels larger than 1x1'
    if asked:
        return f'About {share}: those that --include and --exclude leave.'
    if layers:
        return f'About {share}: those that were refocused. Others did not train by the method; --include adds them.'
    return f'About {share}: no config or checkpoint tells which were refocused.'


def check_match(sets: Sequence[KernelSet]) -> None:
    """Raises unless all sets have the first one's layers, of the same shapes.

    Raises:
        ValueError: names the layers that differ, and what to do.
    """
    first = sets[0]
    for other in sets[1:]:
        missing = [layer for layer in first.kernels if layer not in other.kernels]
        extra = [layer for layer in other.kernels if layer not in first.kernels]
        if missing or extra:
            parts = [f'only {first.name} has {some(missing)}'] if missing else []
            parts += [f'only {other.name} has {some(extra)}'] if extra else []
            raise ValueError(
                f'the layers of {first.name} ({first.path}) and {other.name} ({other.path}) differ: '
                f'{"; ".join(parts)}. Leave out what they do not share with --include or --exclude '
                '(redundancy also takes nets of different layers, with --unmatched).'
            )
        for layer, kernel in first.kernels.items():
            if kernel.shape != other.kernels[layer].shape:
                raise ValueError(
                    f'{layer} is {tuple(kernel.shape)} in {first.name} and {tuple(other.kernels[layer].shape)} in '
                    f'{other.name}: these are not two trainings of one net. Leave it out with --exclude.'
                )
    check_folding(sets)


def check_folding(sets: Sequence[KernelSet]) -> None:
    """Raises if batch norm is folded into the kernels of some sets and not of the first, or the reverse.

    Raises:
        ValueError: names both.
    """
    first = sets[0]
    for other in sets[1:]:
        if first.folded_bn != other.folded_bn:
            folded = first if first.folded_bn else other
            raise ValueError(
                f'{folded.name} ({folded.path}) has batch norm folded into its kernels, which scales every channel, '
                'and the other has not: write it without --fold-bn'
            )


def align(sets: Sequence[KernelSet]) -> list[tuple[str, list[Tensor | None]]]:
    """The layers of all sets, each with its kernel in every set, or None where a set has none of that name and shape.

    What only a later set has comes after what precedes it there, so each set keeps its own order as far as they agree.
    """
    found = [{(layer, tuple(kernel.shape)): kernel for layer, kernel in each.kernels.items()} for each in sets]
    order: list[tuple[str, tuple[int, ...]]] = []
    for kernels in found:
        place = 0 if set(kernels) & set(order) else len(order)
        for key in kernels:
            if key in order:
                place = order.index(key) + 1
            else:
                order.insert(place, key)
                place += 1
    return [(key[0], [kernels.get(key) for kernels in found]) for key in order]


def gather(
    paths: Sequence[str], names: str | None = None, config: str | None = None, include: Sequence[str] | None = None,
    exclude: Sequence[str] = (), trust: bool = False, match: bool = True,
) -> tuple[list[KernelSet], str]:  # fmt: skip
    """Reads checkpoints and matches their layers.

    Args:
        paths: the first is what the others are compared with.
        names: their names, separated by commas; by default the files', without suffix.
        config: of those that are refocused.
        include, exclude: globs on layer names; `*` also crosses dots. Without `include`, the layers that were
            refocused, if the config or a checkpoint tells, else all.
        match: False takes nets of any kind, whose layers differ.

    Returns:
        The sets, and a sentence that says which layers they have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as many names as checkpoints are needed, all different; what :func:`read_kernels`,
            :func:`choose` and :func:`check_match` refuse.
    """
    called = names_of(paths, names)
    cfg = open_config(config) if config else None
    whole = [read_kernels(path, name, cfg, trust) for path, name in zip(paths, called, strict=True)]
    layers = [] if include else refocused_layers(whole, cfg)
    sets = []
    for each in whole:
        # Of nets side by side, one of another kind may have none of these layers.
        known = layers if match or set(layers) & set(each.kernels) else []
        sets.append(choose(each, include or [escape(name) for name in known] or ['*'], exclude))
    check_match(sets) if match else check_folding(sets)
    return sets, about(sets[0], whole[0], layers, bool(include or exclude))
