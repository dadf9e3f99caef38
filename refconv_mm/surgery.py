"""`refocus(model)` and its inverse `fuse(model)`, and the report that both return."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from .console import label_names
from .conv_types import refconv_for
from .layer import RefConv2d
from .options import RefConvOptions, kind_of
from .targets import count_reasons, note_on, select

# Hooks of a convolution, which its replacement gets.
_HOOKS = (
    '_forward_pre_hooks',
    '_forward_pre_hooks_with_kwargs',
    '_forward_hooks',
    '_forward_hooks_with_kwargs',
    '_forward_hooks_always_called',
    '_backward_pre_hooks',
    '_backward_hooks',
    '_is_full_backward_hook',
    '_state_dict_hooks',
    '_state_dict_pre_hooks',
    '_load_state_dict_pre_hooks',
    '_load_state_dict_post_hooks',
)


@dataclass
class Row:
    """One matched layer. `before` and `after` count the layer's trainable parameters."""

    name: str
    kernel: str
    kind: str
    form: str
    before: int
    after: int
    note: str = ''


@dataclass
class Report:
    """The changes of a model, done or planned.

    Attributes:
        action: `'refocus'` or `'fuse'`.
        rows: the matched layers.
        skipped: the reasons for the other convolutions, by name.
        params_before, params_after: trainable parameters of the whole model.
        bytes_before, bytes_after: memory of value, gradient and SGD momentum of the trainable parameters.
        note: printed below the table.
    """

    action: str
    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    params_before: int = 0
    params_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    note: str = ''

    @property
    def matched(self) -> list[str]:
        """Names of the matched layers."""
        return [row.name for row in self.rows]

    def table(self, width: int = 120) -> Table:
        """The report as a rich table; names of layers lose their middle where it would be wider than `width`."""
        table = Table(title=f'{self.action}: {len(self.rows)} layers', title_justify='left', box=SIMPLE_HEAD)
        cells = [(row.kernel, row.kind, row.form, f'{row.before:,}', f'{row.after:,}', row.note) for row in self.rows]
        others = sum(max(8, *map(len, column)) + 2 for column in zip(*cells, strict=True)) if cells else 0
        for name in ('layer', 'kernel', 'kind', 'form'):
            table.add_column(name, no_wrap=True)
        table.add_column('trained before', justify='right')
        table.add_column('after', justify='right')
        table.add_column('')
        names, room = self.matched, max(12, width - 2 - others)
        names = names if max(map(len, names), default=0) <= room else label_names(names, room)
        for name, rest in zip(names, cells, strict=True):
            table.add_row(name, *rest)
        table.add_section()
        table.add_row('whole model', '', '', '', f'{self.params_before:,}', f'{self.params_after:,}')
        sizes = f'{self.bytes_before / 2**20:.1f} MiB', f'{self.bytes_after / 2**20:.1f} MiB'
        table.add_row('memory (SGD)', '', '', '', *sizes)
        left = f'left alone: {count_reasons(self.skipped)}' if self.skipped else ''
        table.caption = '; '.join(filter(None, [left, self.note]))
        return table

    def __str__(self) -> str:
        console = Console(width=120, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get()


def refocus(
    model: nn.Module,
    include: str | Sequence[str] = '*',
    exclude: str | Sequence[str] = (),
    *,
    dry_run: bool = False,
    **options: Any,
) -> Report:
    """Turns matching convolutions into RefConv layers, in place; inverse of :func:`fuse`.

    Keys, values, device, dtype, training mode, hooks and `requires_grad` stay. Call it before the optimizer is built:
    an earlier optimizer does not have the updates.

    Args:
        model: any module; its kernels become the bases.
        include: globs on module names, such as `'backbone.*'`.
        exclude: globs of modules to leave out; they override `include`.
        dry_run: only report.
        **options: `map_k`, `init`, `identity`, `form`, `gain`, `kinds`; see :class:`refconv_mm.RefConvOptions`.

    Returns:
        The report; `print` shows it as a table.

    Raises:
        TypeError, ValueError: an option is wrong, or no convolution matches. The model is then unchanged.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
        >>> refocus(model).matched
        ['0']
        >>> fuse(model).matched
        ['0']
        >>> type(model[0]).__name__
        'Conv2d'
    """
    checked = RefConvOptions.of(options)
    chosen, skipped = select(model, include, exclude, checked)
    # All layers are built before the first is replaced, so an error leaves the model unchanged.
    with torch.random.fork_rng(devices=[], enabled=dry_run):
        new: dict[str, nn.Conv2d] = {}
        for name, conv in chosen.items():
            kind = refconv_for(conv)
            assert kind is not None
            new[name] = kind.from_conv2d(conv, checked)
    report = _operate('refocus', model, chosen, new, skipped, dry_run)
    if all(conv.stride == conv.kernel_size for conv in chosen.values()):
        report.note = (
            'only patch embeddings (stride = kernel) are refocused; a vision transformer has no other spatial kernels, '
            'and RefConv changes no linear layer'
        )
    return report


def fuse(model: nn.Module, *, dry_run: bool = False) -> Report:
    """Turns every RefConv layer into an ordinary convolution, in place; inverse of :func:`refocus`.

    Args:
        model: a model with RefConv layers.
        dry_run: only report.

    Returns:
        The report.

    Raises:
        TypeError: `model` is not a module.
        ValueError: the model has no RefConv layer, or is one itself. It is then unchanged.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be an nn.Module, got {type(model).__name__}')
    if isinstance(model, RefConv2d):
        raise ValueError('the model is itself a RefConv layer and cannot be replaced in place; use its to_conv2d()')
    old: dict[str, nn.Conv2d] = dict(named_refconvs(model, refocused_only=False))
    if not old:
        raise ValueError('the model has no RefConv layer to fuse; was it fused before, or built without RefConv?')
    note = note_on(model)
    new = {name: layer.to_conv2d() for name, layer in old.items() if isinstance(layer, RefConv2d)}
    report = _operate('fuse', model, old, new, {}, dry_run)
    report.note = note
    return report


def named_refconvs(model: nn.Module, refocused_only: bool = True) -> list[tuple[str, RefConv2d]]:
    """RefConv layers by name; pointwise ones only with `refocused_only=False`."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, RefConv2d) and (module.is_refocused or not refocused_only)
    ]


def bare(model: nn.Module) -> nn.Module:
    """The model inside a wrapper such as DDP."""
    return model.module if is_model_wrapper(model) else model


def layer_row(name: str, layer: nn.Conv2d, before: int, after: int) -> Row:
    """A report row; `layer` is the RefConv layer."""
    form = layer.form if isinstance(layer, RefConv2d) else 'plain'
    size = 'x'.join(map(str, layer.kernel_size))
    channels = f'{layer.in_channels}->{layer.out_channels}'
    return Row(name, f'{size} {channels}', kind_of(layer), form, before, after)


def trainable(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def trained_bytes(model: nn.Module) -> int:
    """Bytes of value, gradient and momentum of the trainable parameters."""
    return 3 * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def _operate(
    action: str,
    model: nn.Module,
    old: dict[str, nn.Conv2d],
    new: dict[str, nn.Conv2d],
    skipped: dict[str, str],
    dry_run: bool,
) -> Report:
    report = Report(action, skipped=skipped, params_before=trainable(model), bytes_before=trained_bytes(model))
    for name, conv in old.items():
        if isinstance(conv, RefConv2d) and not conv.is_refocused:
            continue  # a pointwise layer is replaced too, but has nothing to fuse
        row = layer_row(name, new[name] if action == 'refocus' else conv, trainable(conv), trainable(new[name]))
        row.note = '' if trainable(conv) or not any(True for _ in conv.parameters()) else 'frozen'
        report.rows.append(row)
    change = {
        'params': sum(row.after - row.before for row in report.rows),
        'bytes': sum(trained_bytes(new[n]) - trained_bytes(conv) for n, conv in old.items()),
    }
    report.params_after = report.params_before + change['params']
    report.bytes_after = report.bytes_before + change['bytes']
    if not dry_run:
        _replace(model, {id(conv): new[name] for name, conv in old.items()})
    return report


def _replace(model: nn.Module, new: dict[int, nn.Conv2d]) -> None:
    """Replaces the old layers by the new ones, a shared layer under each of its names."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in new:
                assert child is not None
                for hooks in _HOOKS:  # the same dicts, so that the user's handles still work
                    if hooks in child.__dict__:
                        new[id(child)].__dict__[hooks] = child.__dict__[hooks]
                for hook in child._load_state_dict_pre_hooks.values():
                    if getattr(hook, 'with_module', False):  # torch passes these a weak reference to their module
                        hook.module = weakref.ref(new[id(child)])
                parent._modules[name] = new[id(child)]
