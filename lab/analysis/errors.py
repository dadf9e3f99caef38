"""Standard errors of means, of means over two things at once, and of ratios of paired samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def mean_and_error(values: Sequence[float]) -> dict[str, Any]:
    """`mean`, its standard `error` (None for a single value) and the `values`."""
    numbers = torch.tensor(values, dtype=torch.float64)
    error = numbers.std().item() / math.sqrt(len(numbers)) if len(numbers) > 1 else None
    return dict(mean=numbers.mean().item(), error=error, values=list(values))


def crossed(samples: Tensor) -> dict[str, Any]:
    """Mean and standard error of a quantity that was sampled over probes and batches at once.

    Args:
        samples: `(probes, batches)`.

    Returns:
        `mean`, and `error`: the root of the sum of the squares of the errors over probes and over batches; None for a
        single probe and batch.
    """
    errors = [mean_and_error(samples.mean(dim).tolist())['error'] for dim in (0, 1)]
    known = [error for error in errors if error is not None]
    return dict(mean=samples.mean().item(), error=math.hypot(*known) if known else None)


def ratio_of_means(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Ratio of two means over the same probes and batches; None where one is not positive.

    Args:
        one, other: `(probes, batches)`.

    Returns:
        `mean`, the ratio, and to first order its standard `error`, that of the mean of
        `(one - ratio * other) / mean(other)`: the parts that both have in common cancel.
    """
    a, b = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    if a.mean() <= 0 or b.mean() <= 0:
        return None
    value = (a.mean() / b.mean()).item()
    return dict(mean=value, error=crossed((a - value * b) / b.mean())['error'])
