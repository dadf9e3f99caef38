"""The report of refocusing and fusing, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from ..console import label_names
from .selection import count_reasons, kind_of


@dataclass
class Row:
    """One layer; `before` and `after` count its trainable parameters, `trained` names the one that is refocused."""

    name: str
    kernel: str
    kind: str
    trained: str
    before: int
    after: int
    note: str = ''

    @classmethod
    def of(cls, name: str, conv: nn.Conv2d, trained: str, before: int, after: int) -> Row:
        """Makes the row of a layer."""
        kernel = f'{"x".join(map(str, conv.kernel_size))} {conv.in_channels}->{conv.out_channels}'
        note = '' if any(p.requires_grad for p in conv.parameters()) else 'frozen'
        return cls(name, kernel, kind_of(conv), trained, before, after, note)


@dataclass
class Report:
    """The changes of a model, done or planned.

    Attributes:
        action: the title.
        rows: the matched layers.
        skipped: the reasons for the other convolutions, by name.
        params_before, params_after: trainable parameters of the whole model.
        note: printed below the table.
    """

    action: str
    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    params_before: int = 0
    params_after: int = 0
    note: str = ''

    @property
    def matched(self) -> list[str]:
        """Names of the matched layers."""
        return [row.name for row in self.rows]

    def table(self, width: int = 120) -> Table:
        """Makes a rich table; names of layers lose their middle where it would be wider than `width`."""
        table = Table(title=f'{self.action}: {len(self.rows)} layers', title_justify='left', box=SIMPLE_HEAD)
        cells = [
            (row.kernel, row.kind, row.trained, f'{row.before:,}', f'{row.after:,}', row.note) for row in self.rows
        ]
        others = sum(max(9, *map(len, column)) + 2 for column in zip(*cells, strict=True)) if cells else 0
        for name in ('layer', 'kernel', 'kind', 'trains'):
            table.add_column(name, no_wrap=True)
        table.add_column('trainable before', justify='right')
        table.add_column('after', justify='right')
        table.add_column('')
        names, room = self.matched, max(12, width - 2 - others)
        names = names if max(map(len, names), default=0) <= room else label_names(names, room)
        for name, rest in zip(names, cells, strict=True):
            table.add_row(name, *rest)
        table.add_section()
        table.add_row('whole model', '', '', '', f'{self.params_before:,}', f'{self.params_after:,}')
        left = f'left alone: {count_reasons(self.skipped)}' if self.skipped else ''
        table.caption = '; '.join(filter(None, [left, self.note]))
        return table

    def __str__(self) -> str:
        console = Console(width=120, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get()


def trainable(module: nn.Module) -> int:
    """Counts the trainable numbers of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
