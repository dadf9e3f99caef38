"""Curvature and sharpness of checkpoints, with the time that they will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import combinations
from typing import Any

import torch

from ..common.errors import mean_and_error, ratio_of_means
from ..common.hessian import Tick, hessians, largest, spectrum, trace
from ..common.parts import PartStore
from ..common.sharpness import sharpness
from ..common.task_loss import TaskLoss
from ..common.units import UNITS, make_scales
from . import CurvatureOptions

RULE = 'curvature v1'  # part of the key of stored results
HESSIANS = ('raw', 'filter')  # units in which the Hessian is measured
PRODUCT = 4  # gradients that take as long as a product with the Hessian, about; for the progress alone
SOLVER = 15  # products that the eigenvalue solver is counted with before it is known
WHOLE = 'checkpoint'  # the name of the one part of a checkpoint that is kept


def key(options: CurvatureOptions) -> list[Any]:
    """What a stored result depends on beside task and weights."""
    return [RULE, version('curvlinops-for-pytorch'), asdict(options)]


def plan_work(task: TaskLoss, options: CurvatureOptions, stores: Sequence[PartStore]) -> list[tuple[float, str]]:
    """Gradients of a batch, or what takes as long, that each checkpoint needs.

    Raises:
        ValueError: the Hessian is smaller than what is asked, or see :func:`time_product`.
    """
    for unit in HESSIANS:
        count = make_scales(task.model, unit, options.params).count
        for name in ('eigenvalues', 'lanczos'):
            if (asked := getattr(options, name)) >= count:
                raise ValueError(f'--{name} {asked} must be fewer than the parameters that --params matches, {count}')
    seconds = 0.0 if all(WHOLE in store.known for store in stores) else time_product(task, options)
    batches = len(task.batches)
    products = SOLVER + options.eigenvalues + options.probes + options.starts * options.lanczos
    products *= len(HESSIANS) * batches
    gradients = len(UNITS) * (1 + options.ascent * len(options.radii)) * batches
    left = PRODUCT * products + gradients
    text = (
        f'about {seconds * left / PRODUCT / 60:.1f} minutes: {products} products with the Hessian of a batch, '
        f'{seconds:.2f} s each, and {gradients} gradients'
    )
    return [(0.0, 'measured before and kept') if WHOLE in store.known else (left, text) for store in stores]


def time_product(task: TaskLoss, options: CurvatureOptions) -> float:
    """Seconds of one product with the Hessian of a batch.

    Raises:
        ValueError: the loss can't be differentiated twice.
    """
    units = make_scales(task.model, 'raw', options.params)
    part = hessians(task, units).parts[0]
    vector = torch.ones(units.count, dtype=part.dtype, device=part.device)
    try:
        part @ vector  # the first product also pays for allocations
        start = time.perf_counter()
        (part @ vector).sum().item()
        return time.perf_counter() - start
    except RuntimeError as error:
        raise ValueError(
            f'the loss of {type(task.model).__name__} can not be differentiated twice: {error}. An operator without a '
            "second derivative is in the way (mmcv's compiled ones have none); another head or loss may do"
        ) from error


def measure(
    task: TaskLoss, options: CurvatureOptions, store: PartStore, advance: Callable[[float], object] = lambda done: None
) -> dict[str, Any]:
    """What :func:`measure_loaded` finds of one checkpoint, from the store where it is known."""
    if WHOLE not in store.known:
        store.add(WHOLE, measure_loaded(task, options, lambda done: advance(PRODUCT * done), advance))
    return store.known[WHOLE]


def measure_loaded(
    task: TaskLoss, options: CurvatureOptions,
    product: Tick = lambda done: None, evaluation: Tick = lambda done: None,
) -> dict[str, Any]:  # fmt: skip
    """One checkpoint, whose weights the task's model has; they are the same afterwards.

    Args:
        product, evaluation: called after every product with the Hessian of a batch, and every gradient of one.

    Returns:
        Ready for JSON: `loss`; `hessian` by unit (`parameters`, `eigenvalues`, `trace`, `spectrum`); `sharpness` by
        unit; `seconds`.

    Raises:
        ValueError: the loss is not finite.
    """
    start = time.perf_counter()
    with torch.no_grad():
        losses = [float(task.loss(batch)) for batch in task.batches]
    if not all(map(math.isfinite, losses)):
        raise ValueError(f'the loss is not finite on every batch: {losses}; weights, or a box without area, at fault')
    found: dict[str, Any] = dict(loss=mean_and_error(losses), hessian={}, sharpness={})
    for unit in HESSIANS:
        units = make_scales(task.model, unit, options.params)
        operators = hessians(task, units, product)
        found['hessian'][unit] = dict(
            parameters=units.count,
            eigenvalues=largest(operators, options.eigenvalues, options.seed),
            trace=trace(operators, options.probes, options.seed),
            spectrum=spectrum(operators, options.lanczos, options.starts, options.seed),
        )  # fmt: skip
    for unit in UNITS:
        units = make_scales(task.model, unit, options.params)
        found['sharpness'][unit] = sharpness(task, units, options.radii, options.ascent, evaluation)
    return dict(**found, seconds=time.perf_counter() - start)


def sum_up(records: Sequence[dict[str, Any]], options: CurvatureOptions, task: TaskLoss) -> dict[str, Any]:
    """The figures of all checkpoints by name, and their ratios."""
    kept = ('name', 'path', 'what')
    measured = {
        each['name']: {part: value for part, value in each.items() if part not in (*kept, 'key')} for each in records
    }
    return dict(
        batches=task.what, count=len(task.batches), mode=task.mode, settings=asdict(options),
        checkpoints=[{part: each[part] for part in kept} for each in records],
        measured=measured, compared=compare_pairs(measured),
    )  # fmt: skip


def compare_pairs(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ratios of every checkpoint to every one before it, with errors of the pair: same probes, same batches.

    Returns:
        For each pair `of`, `over`, and `values`: by quantity a `ratio` and its standard `error`, or None.
    """
    return [
        dict(of=other, over=name, values={
            key: ratio_of_means(samples, theirs) for (key, samples), theirs
            in zip(_samples(measured[other]).items(), _samples(measured[name]).values(), strict=True)
        })
        for name, other in combinations(measured, 2)
    ]  # fmt: skip


def _samples(found: Mapping[str, Any]) -> dict[str, list[list[float]] | None]:
    """What is compared, `(probes, batches)` each."""
    values: dict[str, list[list[float]] | None] = {}
    for unit, part in found['hessian'].items():
        top = part['eigenvalues']
        values[f'{unit}: largest eigenvalue'] = [top[0]['values']] if top else None
        values[f'{unit}: trace'] = part['trace']['samples']
    for unit, rows in found['sharpness'].items():
        for row in rows:
            values[f'{unit}: sharpness at {row["radius"]:g}'] = [row['ascent']['values']] if row['ascent'] else None
    return values
