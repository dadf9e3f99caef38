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
    """Mean and standard errors of a quantity that was sampled over probes and batches at once.

    Args:
        samples: `(probes, batches)`.

    Returns:
        `mean`; `probe_error` and `batch_error`, of the means over the other (None for a single probe or batch);
        `error`, the root of the sum of their squares (None if both are).
    """
    probe, batch = mean_and_error(samples.mean(1).tolist())['error'], mean_and_error(samples.mean(0).tolist())['error']
    known = [each for each in (probe, batch) if each is not None]
    error = math.hypot(*known) if known else None
    return dict(mean=samples.mean().item(), error=error, probe_error=probe, batch_error=batch)


def ratio_of_means(
    one: Sequence[Sequence[float]] | None, other: Sequence[Sequence[float]] | None
) -> dict[str, Any] | None:
    """Ratio of two means over the same probes and batches; None where one is missing or not positive.

    Args:
        one, other: `(probes, batches)`.

    Returns:
        `ratio`, and to first order its standard `error`, that of the mean of `(one - ratio * other) / mean(other)`:
        what both have in common cancels. None for a single probe and batch.
    """
    if one is None or other is None:
        return None
    a, b = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    if a.mean() <= 0 or b.mean() <= 0:
        return None
    value = (a.mean() / b.mean()).item()
    return dict(ratio=value, error=crossed((a - value * b) / b.mean())['error'])
