"""Selects the convolutions to refocus by name, kind and kernel, with reasons for the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from .adaptive_padding import REFCONV_FOR
from .layer import RefConv2d

KINDS = ('depthwise', 'grouped', 'dense')


def kind_of(conv: nn.Conv2d) -> str:
    """`'depthwise'` (as many groups as input channels), `'grouped'` or `'dense'` (one group)."""
    if conv.groups == 1:
        return 'dense'
    return 'depthwise' if conv.groups == conv.in_channels else 'grouped'


def as_patterns(argument: str, value: str | Sequence[str]) -> list[str]:
    """A glob or a sequence of globs as a list.

    Raises:
        TypeError: the value is something else; the message names the argument.
    """
    patterns = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f'{argument} must be a glob such as "backbone.*" or a list of them, got {value!r}')
    return patterns


def named_convs(model: nn.Module) -> dict[str, tuple[nn.Conv2d, list[str]]]:
    """All 2-d convolutions by their first name, each with all its names; a shared one has several."""
    found: dict[int, tuple[nn.Conv2d, list[str]]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Conv2d):
            found.setdefault(id(module), (module, []))[1].append(name)
    return {names[0]: (conv, names) for conv, names in found.values()}


def why_not(conv: nn.Conv2d, map_k: int, kinds: Sequence[str]) -> str | None:
    """The reason not to refocus a convolution; None if it can be refocused."""
    if isinstance(conv, RefConv2d):
        return 'refocused already' if conv.is_refocused else 'pointwise: nothing to refocus'
    if type(conv) not in REFCONV_FOR:
        return f'{type(conv).__name__} is a type that RefConv does not replace'
    if 'weight' not in conv._parameters:
        return 'its kernel is computed (weight norm or the like)'
    if conv.kernel_size == (1, 1):
        return 'pointwise: nothing to refocus'
    if map_k > max(conv.kernel_size):
        return f'kernel {conv.kernel_size} smaller than map_k={map_k}'
    if kind_of(conv) not in kinds:
        return f'{kind_of(conv)}: not asked for'
    return None


def select(
    model: nn.Module,
    include: str | Sequence[str] = '*',
    exclude: str | Sequence[str] = (),
    kinds: Sequence[str] = KINDS,
    map_k: int = 3,
) -> tuple[dict[str, nn.Conv2d], dict[str, str]]:
    """Selects convolutions.

    Args:
        model: any module; it must not be a convolution itself.
        include: globs on module names (`fnmatch`; `*` also matches dots). A shared layer matches by any of its names.
        exclude: globs of modules to leave out; they override `include`.
        kinds: any of `KINDS`.
        map_k: side of the map; smaller kernels are left out.

    Returns:
        The chosen convolutions by name, and the reasons for the others.

    Raises:
        TypeError: `model` is not a module, or a pattern is not a string.
        ValueError: no convolution is chosen, an include pattern matches none, or a kind is unknown.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be an nn.Module, got {type(model).__name__}')
    if isinstance(model, nn.Conv2d):
        raise ValueError('the model is itself a convolution and cannot be replaced in place; use RefConv2d.from_conv2d')
    includes, excludes = as_patterns('include', include), as_patterns('exclude', exclude)
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f'kinds must be of {KINDS}, got {sorted(unknown)}')
    convs = named_convs(model)
    for pattern in includes:
        if not any(_matches(names, [pattern]) for _, names in convs.values()):
            some = ', '.join(list(convs)[:5]) or 'none at all'
            raise ValueError(f'include pattern {pattern!r} matches no 2-d convolution; the model has: {some}')
    tied = _tied(convs)
    chosen, skipped = {}, {}
    for name, (conv, names) in convs.items():
        if not _matches(names, includes):
            skipped[name] = 'not included'
        elif _matches(names, excludes):
            skipped[name] = 'excluded'
        elif reason := why_not(conv, map_k, kinds) or tied.get(name):
            skipped[name] = reason
        else:
            chosen[name] = conv
    if not chosen:
        raise ValueError(
            f'no convolution to refocus (include={includes}, exclude={excludes}, kinds={list(kinds)}, '
            f'map_k={map_k}); reasons: {_reasons(skipped)}'
        )
    return chosen, skipped


def _matches(names: list[str], patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _tied(convs: dict[str, tuple[nn.Conv2d, list[str]]]) -> dict[str, str]:
    """Layers that share a kernel or a bias with another layer; refocusing would separate them."""
    first: dict[int, str] = {}
    tied = {}
    for name, (conv, _) in convs.items():
        for kind, parameter in conv._parameters.items():
            other = first.setdefault(id(parameter), name)
            if parameter is not None and other != name:
                tied[name] = f'shares its {kind} with {other}'
                tied[other] = f'shares its {kind} with {name}'
    return tied


def _reasons(skipped: dict[str, str]) -> str:
    counts: dict[str, int] = {}
    for reason in skipped.values():
        counts[reason] = counts.get(reason, 0) + 1
    return '; '.join(f'{n} x {reason}' for reason, n in counts.items()) or 'the model has no 2-d convolution'
