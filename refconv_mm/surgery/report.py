"""The report of refocusing and fusing, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.parameter import is_lazy

from .selection import count_reasons, kind_of


@dataclass
class Row:
    """One layer."""

    name: str
    kernel: str
    kind: str
    note: str = ''

    @classmethod
    def of(cls, name: str, conv: nn.Conv2d) -> Row:
        """Makes the row of a layer."""
        kernel = f'{"x".join(map(str, conv.kernel_size))} {conv.in_channels}->{conv.out_channels}'
        return cls(name, kernel, kind_of(conv), '' if trainable(conv) else 'frozen')


@dataclass
class Report:
    """The changes of a model, done or planned.

    Attributes:
        action: the title.
        rows: the matched layers.
        skipped: why each other convolution is left alone, by name.
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

    def table(self) -> Table:
        """Makes a rich table; where it is narrow, long names go on in the next line."""
        table = Table(title=f'{self.action}: {len(self.rows)} layers', title_justify='left', box=SIMPLE_HEAD)
        table.add_column('layer', overflow='fold')
        for name in ('kernel', 'kind', ''):
            table.add_column(name, no_wrap=True)
        for row in self.rows:
            table.add_row(row.name, row.kernel, row.kind, row.note)
        numbers = f'trainable parameters of the model: {self.params_before:,} before, {self.params_after:,} after'
        left = f'left alone: {count_reasons(self.skipped)}' if self.skipped else ''
        table.caption = '; '.join(filter(None, [numbers, left, self.note]))
        return table

    def __str__(self) -> str:
        console = Console(width=120, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get()


def trainable(module: nn.Module) -> int:
    """Counts the trainable numbers of a module; those of lazy layers are not known before they run."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad and not is_lazy(p))
