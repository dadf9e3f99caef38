"""What an analysis consists of, and its options: a dataclass whose fields become arguments of the command line."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Analysis:
    """One analysis. Its folder has `measure.py`, `report.py` and `figure.py`, which are imported when it runs.

    Attributes:
        name: of its folder, its sub-command and its files.
        title: of its report.
        text: the help of its sub-command; the first line says what it measures.
        source: what it takes, a key of :data:`lab.analysis.common.sources.SOURCES`.
        options: a dataclass of :func:`option` fields; it checks its values and raises ValueError.
        captions: of its figures, by file name without suffix; pages (`name-1`, `name-2`) share one.
        defaults: of the source's options, where they differ from the source's own.
    """

    name: str
    title: str
    text: str
    source: str
    options: type
    captions: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def module(self, part: str) -> Any:
        """Its `'measure'`, `'report'` or `'figure'`; matplotlib and the like are needed only from here on."""
        return import_module(f'{__package__.rpartition(".")[0]}.{self.name}.{part}')


def option(default: Any, text: str, choices: Sequence[str] | None = None, count: int | str = '+') -> Any:
    """A field that is an argument; a plain field of the dataclass takes the source's argument of its name.

    Args:
        default: its type is the argument's; False makes a flag, a tuple takes several values.
        text: the help.
        choices: the only values allowed.
        count: of the values of a tuple, as argparse's `nargs`.
    """
    return field(default=default, metadata=dict(text=text, choices=choices, count=count))


def add_options(parser: ArgumentParser, options: type) -> None:
    """Adds the arguments of a dataclass of options."""
    for each in fields(options):
        if not each.metadata:
            continue
        assert each.default is not MISSING
        flag, text, default = f'--{each.name.replace("_", "-")}', each.metadata['text'], each.default
        if isinstance(default, bool):
            parser.add_argument(flag, action='store_true', help=text)
            continue
        several = isinstance(default, tuple)
        shown = ' '.join(map(str, default)) if several else default
        parser.add_argument(
            flag, default=default, help=f'{text} (default: {shown})', choices=each.metadata['choices'],
            type=type(default[0] if several else default), nargs=each.metadata['count'] if several else None,
        )  # fmt: skip


def read_options(args: Namespace, options: type) -> Any:
    """The options that the arguments describe.

    Raises:
        ValueError: a value that the dataclass refuses.
    """
    values = {each.name: getattr(args, each.name) for each in fields(options)}
    return options(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
