"""Tables in Markdown, for reports and terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markdown import Markdown


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; the first column is aligned left, the others right."""
    lines = ['| ' + ' | '.join(head) + ' |', '|---' + '|---:' * (len(head) - 1) + '|']
    return '\n'.join(lines + ['| ' + ' | '.join(map(str, row)) + ' |' for row in rows])


def print_markdown(text: str) -> None:
    """Prints Markdown; on a terminal with aligned tables that fit its width."""
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        print(text)
