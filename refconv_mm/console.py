"""Output for terminals and reports."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console


def log_console(file: TextIO | None = None) -> Console:
    """rich's console on a file, or on the standard output of the time; without a terminal it has a log's width."""
    console = Console(file=file)
    return console if console.is_terminal else Console(file=file, width=120)


def shorten(text: str, width: int) -> str:
    """A text of at most `width` characters; a longer one loses its middle, since names differ at their ends."""
    if len(text) <= width:
        return text
    keep = width - 1
    return f'{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}'
