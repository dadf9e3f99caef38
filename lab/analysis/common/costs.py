"""What a model costs to train and to run: time by alternation, memory by allocation.

Every function takes any call; nothing here knows about refocusing.
"""

from __future__ import annotations

import gc
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from refconv_mm.version import __version__


def round_ratio(seconds: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """Median of the per-round ratios to the reference, and their quartiles.

    The two numbers of one round were measured within moments of each other, so what slows the machine down for longer
    than that cancels out.
    """
    ratios = [a / b for a, b in zip(seconds, reference, strict=True)]
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return median, low, high


def alternate(
    competitors: Mapping[str, Callable[[], Any]], rounds: int, reference: str = 'plain', warm_up: int = 2,
    report: Callable[[], Any] = lambda: None, settle: int = 0,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Times competitors in turn, the order turning by one each round so that nobody always follows the same other.

    Args:
        rounds: calls of each competitor that count; `warm_up` calls before do not.
        reference: the name of the one that ratios are against.
        report: called after each round.
        settle: untimed calls right before each timed one. Small models want one beside a large one: whoever follows it
            finds the processor's caches empty (5 to 12 % of a MobileNetV2's pass after a ResNet-50's).

    Returns:
        Ready for JSON: by name `seconds`, one number a round, and their `ratio` to those of the reference.

    Raises:
        ValueError: no round, or the reference is no competitor.
    """
    if rounds < 1:
        raise ValueError(f'rounds must be at least 1, got {rounds}')
    if reference not in competitors:
        raise ValueError(f'reference must be one of {list(competitors)}, got {reference!r}')
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
                for _ in range(settle):
                    competitors[name]()
                start = time.perf_counter()
                competitors[name]()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - start)
            gc.collect()
            report()
    finally:
        gc.enable()
    return {name: dict(seconds=each, ratio=round_ratio(each, seconds[reference])) for name, each in seconds.items()}


def peak_bytes(make: Callable[[], Callable[[], Any]]) -> int:
    """Peak of allocated memory during a call, including all that `make` allocated before and that is still alive.

    Counted from torch's own record of every allocation on the CPU, so caches, workspaces and temporaries are in
    it; buffers inside oneDNN are not, as torch's allocator does not see them.

    Args:
        make: builds (or copies) model and optimizer and returns the call; the call runs twice, the second counts.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call = make()
        call()
        with record_function('measured call'):
            call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'trace.json')
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    (span,) = (e for e in events if e.get('name') == 'measured call' and e.get('cat') == 'user_annotation')
    live = peak = 0
    memory = (e for e in events if e.get('name') == '[memory]' and e['args']['Device Type'] == 0)
    for event in sorted(memory, key=lambda e: e['ts']):
        live += event['args']['Bytes']
        if span['ts'] <= event['ts'] <= span['ts'] + span['dur']:
            peak = max(peak, live)
    return peak


def rounds_for(call: Callable[[], Any], competitors: int, seconds: float, at_least: int = 7, at_most: int = 41) -> int:
    """An odd number of rounds that takes about `seconds`."""
    call()
    start = time.perf_counter()
    call()
    each = (time.perf_counter() - start) * competitors
    return max(at_least, min(at_most, int(seconds / each))) | 1


def machine() -> dict[str, Any]:
    """What a figure depends on beside the model."""
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return dict(
        processor=names[0] if names else platform.processor(), threads=torch.get_num_threads(),
        torch=torch.__version__, refconv_mm=__version__, time=time.strftime('%Y-%m-%d %H:%M'),
    )  # fmt: skip


def median_ms(part: Mapping[str, Any]) -> float:
    """Median of the seconds of one competitor of :func:`alternate`, in milliseconds."""
    return 1000 * statistics.median(part['seconds'])
