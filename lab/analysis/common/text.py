"""Numbers and names as text, for tables, figures and messages."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MIB = 2**20


@dataclass
class Headline:
    """A line of the summary of an analysis: `values` by checkpoint or model, as text, and how to read them."""

    label: str
    values: dict[str, str]
    reading: str


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f' and {len(names) - shown} more' if len(names) > shown else ''
    return ', '.join(names[:shown]) + more


def short(value: float | None) -> str:
    """Three digits; nothing for None."""
    return '' if value is None else f'{value:.3g}'


def three(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:#.3g}'


def plus_minus(part: Mapping[str, Any] | None, key: str = 'mean') -> str:
    """`12.34 ± 0.41` of a value and its `error`; the value alone where the error is None."""
    if part is None:
        return 'not finite'
    value, error = part[key], part.get('error')
    text = f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'
    if error is None:
        return text
    error = error if error > 1e-9 * abs(value) else 0.0  # below is rounding
    return f'{text} ± ' + (f'{error:,.0f}' if error >= 100 else f'{error:.2g}')


def mean_error(part: Mapping[str, Any]) -> str:
    """`1.23 ± 0.04` of a `mean` and its `error`, two decimals; nothing where the mean is None."""
    if part['mean'] is None:
        return ''
    return f'{part["mean"]:.2f}' + ('' if part['error'] is None else f' ± {part["error"]:.2f}')


def mean_spread(values: Sequence[float | None], sign: str = '') -> str:
    """`mean ± standard deviation`; the mean alone of a single value; says it where one is not finite or None."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values):
        return 'not finite'
    spread = f' ± {_grouped(statistics.stdev(known))}' if len(known) > 1 else ''
    return f'{_grouped(statistics.fmean(known), sign)}{spread}'


def _grouped(value: float, sign: str = '') -> str:
    return f'{value:{sign},.0f}' if 1e3 <= abs(value) < 1e7 else f'{value:{sign}.3g}'


def quartiles(ratio: Sequence[float] | None, digits: int = 3) -> str:
    """`median (lower to upper quartile)`."""
    if ratio is None:
        return ''
    median, low, high = ratio
    return f'{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})'
