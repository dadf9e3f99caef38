"""Output for terminals and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console


def log_console(file: TextIO | None = None) -> Console:
    """rich's console on a file, or on what is standard output at the time; without a terminal it has a log's width."""
    console = Console(file=file)
    return console if console.is_terminal else Console(file=file, width=120)


def shorten(text: str, width: int) -> str:
    """A text of at most `width` characters; a longer one loses its middle, since names differ at their ends."""
    if len(text) <= width:
        return text
    keep = width - 1
    return f'{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}'


def short_names(layers: Sequence[str]) -> list[str]:
    """Layer names without the leading and trailing parts that all of them share; never empty."""
    parts = [layer.split('.') for layer in layers]
    least = min(len(part) for part in parts)
    head = next((i for i in range(least) if len({part[i] for part in parts}) > 1), least)
    tail = next((i for i in range(least - head) if len({part[-1 - i] for part in parts}) > 1), least - head)
    return ['.'.join(part[head : len(part) - tail]) or layer for part, layer in zip(parts, layers, strict=True)]


def label_names(layers: Sequence[str], width: int) -> list[str]:
    """Short layer names of at most `width` characters, or of so many more that no two become the same."""
    names = short_names(layers)
    while len({shorten(name, width) for name in names}) < len(set(names)):
        width += 1
    return [shorten(name, width) for name in names]
