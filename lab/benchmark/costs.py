"""The costs of a model in training and inference: time by alternation, and a GPU's memory.

Every function takes any call; nothing here knows about refocusing.
"""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from refconv_mm.version import __version__


def round_ratio(seconds: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """Median of the per-round ratios to the reference, and their quartiles.

    The two numbers of one round were measured within moments of each other, so whatever slows the machine down for
    longer than that cancels out.
    """
    ratios = [a / b for a, b in zip(seconds, reference, strict=True)]
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return median, low, high


def alternate(competitors: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2) -> dict[str, dict[str, Any]]:
    """Times competitors in turn; the order shifts by one each round, so that none always follows the same other.

    Right before each timed call stands an untimed one: whoever follows a large model finds the caches empty.

    Args:
        competitors: by name; ratios are against `plain`.
        rounds: calls of each competitor that count; `warm_up` calls before do not.

    Returns:
        Ready for JSON: by name `seconds`, one number a round, and their `ratio` to those of `plain`.

    Raises:
        ValueError: no round, or no `plain`.
    """
    if rounds < 1 or 'plain' not in competitors:
        raise ValueError(f"rounds must be at least 1 and a competitor 'plain', got {rounds}, {list(competitors)}")
    names = list(competitors)
    for name in names * warm_up:
        competitors[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()  # a collection would fall on one competitor
    try:
        for turn in range(rounds):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                competitors[name]()
                seconds[name].append(_timed(competitors[name]))
            gc.collect()
    finally:
        gc.enable()
    return {name: dict(seconds=each, ratio=round_ratio(each, seconds['plain'])) for name, each in seconds.items()}


def _timed(call: Callable[[], Any]) -> float:
    """Seconds of a call, with the work that it left to a GPU."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start


def rounds_for(call: Callable[[], Any], competitors: int, seconds: float, at_least: int = 7, at_most: int = 101) -> int:
    """An odd number of rounds that takes about `seconds`."""
    call()
    each = 2 * _timed(call) * competitors  # each turn is called twice
    return max(at_least, min(at_most, int(seconds / each))) | 1


def peak_bytes(make: Callable[[], Callable[[], Any]]) -> int | None:
    """Peak of allocated GPU memory during a call, with all that `make` allocated before; None without a GPU.

    Args:
        make: builds (or copies) model and optimizer and returns the call; the call runs twice, the second counts.
    """
    if not torch.cuda.is_available():
        return None
    before, call = torch.cuda.memory_allocated(), make()
    call()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() - before


def machine() -> dict[str, Any]:
    """The processor, the threads and the versions that a figure depends on beside the model."""
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    processor = names[0] if names else platform.processor()
    return dict(
        processor=torch.cuda.get_device_name() if torch.cuda.is_available() else processor,
        threads=torch.get_num_threads(), torch=torch.__version__, refconv_mm=__version__,
        time=time.strftime('%Y-%m-%d %H:%M'),
    )  # fmt: skip
