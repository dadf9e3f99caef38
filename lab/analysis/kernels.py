"""The kernels of checkpoints, side by side: read from any state dict, matched by name, refused where they differ.

A state dict does not say what its 4-d tensors are. A tensor under `<layer>.weight` with a kernel larger than 1x1 is
taken for a convolution's; one with a single input channel for a depthwise one's, any other for a dense one's. So the
nets need neither RefConv nor a config.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

import torch
from torch import Tensor

from refconv_mm.checkpoints.fusing import choose_weights, is_refocused_state, read_checkpoint


@dataclass
class KernelSet:
    """The kernels of one checkpoint.

    Attributes:
        name: of the checkpoint in tables and figures.
        path: of the file.
        content: of the file, in a sentence.
        kernels: by layer, in the order of the state dict; `(O, I/g, KH, KW)`, as a plain convolution holds them.
        refocused: the layers that were refocused, as far as the checkpoint tells.
    """

    name: str
    path: str
    content: str
    kernels: dict[str, Tensor]
    refocused: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, str]:
        """The part that reports keep."""
        return dict(name=self.name, path=self.path, content=self.content)


def kernels_of(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The convolution kernels larger than 1x1 of a state dict, by layer name."""
    found = {}
    for key, value in state_dict.items():
        layer, _, last = key.rpartition('.')
        kernel = last == 'weight' and isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point()
        if kernel and tuple(value.shape[2:]) != (1, 1) and value.numel():
            found[layer or 'weight'] = value.detach()
    return found


def read_kernels(path: str | Path, name: str, trust: bool = False) -> KernelSet:
    """Reads a plain or fused checkpoint.

    Args:
        path: the file; averaged (EMA) weights are taken where it has them.
        name: of the checkpoint.
        trust: as in :func:`refconv_mm.checkpoints.fusing.read_checkpoint`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: refocused, no kernel in it, or one that is not finite.
    """
    checkpoint = read_checkpoint(path, trust)
    state, weights = choose_weights(checkpoint)
    if is_refocused_state(state):
        raise ValueError(f'{path} is refocused, and its kernels follow from its updates: fuse it first (refconv fuse)')
    record = checkpoint['meta'].get('refconv') or {}
    content = f'fused from {record.get("source")}' if record.get('fused') else f'plain ({weights} weights)'
    kernels = kernels_of(state)
    if not kernels:
        raise ValueError(f'{path} has no convolution kernel larger than 1x1 (4-d tensors under "<layer>.weight")')
    if bad := [layer for layer, kernel in kernels.items() if not torch.isfinite(kernel).all()]:
        raise ValueError(f'{path}: kernels that are not finite, so training had failed: {first_names(bad)}')
    return KernelSet(name, str(path), content, kernels, tuple(record.get('layers') or ()))


def choose(kernels: KernelSet, include: Sequence[str] = ('*',)) -> KernelSet:
    """A set's layers whose names match a glob.

    Raises:
        ValueError: none is left.
    """
    left = {name for name in kernels.kernels if any(fnmatchcase(name, glob) for glob in include)}
    if not left:
        names = first_names(list(kernels.kernels))
        raise ValueError(f'--include {list(include)} leaves no layer of {kernels.path}; it has: {names}')
    return replace(kernels, kernels={k: v for k, v in kernels.kernels.items() if k in left})


def check_match(sets: Sequence[KernelSet]) -> None:
    """Raises unless all sets have the first one's layers, of the same shapes.

    Raises:
        ValueError: names the layers that differ.
    """
    first = sets[0]
    shapes = [{layer: tuple(kernel.shape) for layer, kernel in each.kernels.items()} for each in sets]
    for other, own in zip(sets[1:], shapes[1:], strict=True):
        if apart := [layer for layer in {**shapes[0], **own} if shapes[0].get(layer) != own.get(layer)]:
            parts = [f'{layer} is {shapes[0].get(layer)} and {own.get(layer)}' for layer in apart[:5]]
            raise ValueError(f'{first.name} and {other.name}: {"; ".join(parts)}. Leave out the others with --include')


def gather(
    paths: Sequence[str], names: str | None = None, include: Sequence[str] | None = None,
    trust: bool = False,
) -> tuple[list[KernelSet], str]:  # fmt: skip
    """Reads checkpoints and matches their layers.

    Args:
        paths: the others are compared with the first.
        names: their names, separated by commas; by default the files', without suffix.
        include: globs on layer names; `*` also crosses dots. By default the layers that were refocused, if a
            checkpoint tells, else all.

    Returns:
        The sets, and a sentence that says which layers they have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as many names as checkpoints are needed, all different; and the errors of :func:`read_kernels`,
            :func:`choose` and :func:`check_match`.
    """
    whole = [read_kernels(path, name, trust) for path, name in zip(paths, names_of(paths, names), strict=True)]
    layers = list(dict.fromkeys(name for each in whole for name in each.refocused))
    sets = [choose(each, include or [escape(name) for name in layers] or ['*']) for each in whole]
    check_match(sets)
    share = f'{len(sets[0].kernels)} of the {len(whole[0].kernels)} layers with kernels larger than 1x1'
    if include:
        return sets, f'About {share}: those of --include.'
    known = 'those that were refocused' if layers else 'no checkpoint tells which were refocused'
    return sets, f'About {share}: {known}.'


def names_of(paths: Sequence[str], names: str | None = None) -> list[str]:
    """The names of checkpoints.

    Args:
        names: separated by commas; by default the files', without suffix.

    Raises:
        ValueError: not as many names as checkpoints, or two the same.
    """
    called = [name.strip() for name in names.split(',')] if names else [Path(path).stem for path in paths]
    if len(called) != len(paths) or len(set(called)) != len(called) or not all(called):
        raise ValueError(
            f'{len(paths)} checkpoints need as many different names, got {called}; '
            'pass --names before,after (in the order of the files)'
        )
    return called


def first_names(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f' and {len(names) - shown} more' if len(names) > shown else ''
    return ', '.join(names[:shown]) + more
