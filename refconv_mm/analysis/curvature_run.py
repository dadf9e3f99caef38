"""Measures checkpoints one by one, keeping each on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.progress import Progress, TaskID, TimeElapsedColumn

from ..console import progress_display
from ..files import check_free, write_whole
from .curvature import Tick, hessians, largest, spectrum, trace
from .curvature_figure import draw
from .curvature_report import compare, report
from .geometry import UNITS, Geometry, make_geometry
from .outputs import write_results
from .sharpness import gradient, sharpness
from .task_loss import TaskLoss
from .uncertainty import summary
from .weights import Weights, content_hash, read_weights

FILES = ('curvature.md', 'curvature.json', 'curvature.png')
PARTS = 'curvature_parts'  # a folder for what is done
RULE = 'curvature v1'  # part of the key of stored results
HESSIANS = ('raw', 'filter')  # units in which the Hessian is measured
SOLVER = 15  # products that the eigenvalue solver is counted with before it is known


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        eigenvalues: how many of the largest.
        probes: vectors of the trace estimate.
        lanczos: steps of each quadrature of the density.
        starts: quadratures.
        radii: of the sharpness, in each unit as SAM and ASAM count them.
        ascent: steps up the gradient within the ball.
        params: globs on parameter names.
        seed: of vectors and starts.
    """

    eigenvalues: int = 3
    probes: int = 10
    lanczos: int = 30
    starts: int = 2
    radii: tuple[float, ...] = (0.01, 0.02, 0.05)
    ascent: int = 5
    params: tuple[str, ...] = ('*',)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in dict(eigenvalues=1, probes=1, lanczos=2, starts=1, ascent=1).items():
            if getattr(self, name) < least:
                raise ValueError(f'--{name} must be at least {least}, got {getattr(self, name)}')
        if not self.radii or not all(0 < radius < math.inf for radius in self.radii):
            raise ValueError(f'--radii must be positive, got {list(self.radii)}')

    def check(self, geometry: Geometry) -> None:
        """Raises unless the Hessian is large enough for what is asked.

        Raises:
            ValueError: names the option.
        """
        for name in ('eigenvalues', 'lanczos'):
            if getattr(self, name) >= geometry.count:
                raise ValueError(
                    f'--{name} {getattr(self, name)} must be fewer than the parameters that --params matches, '
                    f'{geometry.count}'
                )

    def work(self, batches: int) -> tuple[int, int]:
        """Products with the Hessian of one batch, and gradients of one batch, that one checkpoint takes."""
        products = SOLVER + self.eigenvalues + self.probes + self.starts * self.lanczos
        gradients = len(UNITS) * (1 + self.ascent * len(self.radii))
        return len(HESSIANS) * products * batches, gradients * batches


def run(
    cfg: Config, paths: Sequence[str], names: Sequence[str], task: TaskLoss, settings: Settings, out_dir: Path,
    command: str, force: bool = False, trust: bool = False,
) -> list[Path]:  # fmt: skip
    """Measures checkpoints and writes `curvature.md`, `.json` and `.png`.

    What is done is kept in `out_dir/curvature_parts`; the same weights, batches and settings are not measured again.

    Args:
        cfg: the config of the checkpoints, plain or refocused.
        paths: the first is what the others are compared with.
        task: made from `cfg`; every checkpoint is loaded into its model.
        command: named in the report.

    Returns:
        The files written.

    Raises:
        FileExistsError: a file is there and `force` is False; nothing was measured.
        FileNotFoundError, ValueError: a checkpoint can't be read or does not fit, its loss is not finite, or can't be
            differentiated twice.
    """
    check_free(out_dir, FILES, force)
    records, parts = [], {}
    for path, name in zip(paths, names, strict=True):  # all are tried before the first is measured
        weights = read_weights(cfg, path, name, trust)
        task.load(weights.state_dict, path)
        records.append(weights.record)
        parts[name] = out_dir / PARTS / f'{_key(task, weights, settings)}.json'
    for unit in HESSIANS:
        settings.check(make_geometry(task.model, unit, settings.params))
    measured = {name: json.loads(part.read_text()) for name, part in parts.items() if part.is_file()}
    missing = {name: path for path, name in zip(paths, names, strict=True) if name not in measured}
    for name, tools in _progress(task, settings, list(missing), list(measured)):
        task.load(read_weights(cfg, missing[name], name, trust).state_dict, missing[name])
        result = measured[name] = measure(task, settings, *tools)
        parts[name].parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, allow_nan=False)
        write_whole(parts[name], lambda file, text=text: Path(file).write_text(text))
    measured = {name: measured[name] for name in names}
    results = dict(
        command=command, batches=task.what, count=len(task.batches), mode=task.mode, settings=asdict(settings),
        checkpoints=records, measured=measured, compared=compare(measured),
    )  # fmt: skip
    return write_results(out_dir, 'curvature', results, report(results), {'curvature.png': draw(results)})


def _progress(
    task: TaskLoss, settings: Settings, missing: Sequence[str], known: Sequence[str]
) -> Iterator[tuple[str, list[Tick]]]:
    """Goes through checkpoints under a bar that counts seconds of work as foreseen.

    Yields:
        A name, and what is to be told of its products and gradients.
    """
    work = settings.work(len(task.batches))
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with progress_display(*columns) as progress:
        if known:
            progress.console.print(f'measured before and kept: {", ".join(known)}', markup=False)
        if not missing:
            return
        costs = calibrate(task, settings)
        seconds = sum(number * cost for number, cost in zip(work, costs, strict=True))
        progress.console.print(
            f'{len(missing)} checkpoints, about {seconds / 60:.1f} minutes each: {work[0]} products with the Hessian '
            f'of a batch, {costs[0]:.2f} s each, and {work[1]} gradients, {costs[1]:.2f} s each. The eigenvalue solver '
            f'is counted with {SOLVER} products over all batches, and takes what it needs.'
        )
        bar = progress.add_task('curvature', total=seconds * len(missing))
        for i, name in enumerate(missing):
            progress.update(bar, description=name, completed=i * seconds)
            yield name, [partial(_advance, progress, bar, cost) for cost in costs]
        progress.update(bar, completed=len(missing) * seconds)


def _advance(progress: Progress, bar: TaskID, cost: float, done: float) -> None:
    progress.advance(bar, done * cost)


def _key(task: TaskLoss, weights: Weights, settings: Settings) -> str:
    """A hash of all that a result depends on."""
    library = version('curvlinops-for-pytorch')
    return content_hash([RULE, library, asdict(settings), task.fingerprint, weights.state_dict])[:24]


def calibrate(task: TaskLoss, settings: Settings) -> tuple[float, float]:
    """Seconds of one product with the Hessian of a batch and of one gradient, measured on the first.

    Raises:
        ValueError: the loss can't be differentiated twice, or is not finite.
    """
    geometry = make_geometry(task.model, 'raw', settings.params)
    part = hessians(task, geometry).parts[0]
    vector = torch.ones(geometry.count, dtype=part.dtype, device=part.device)
    try:
        found = [_timed(lambda: part @ vector) for _ in range(2)]
    except RuntimeError as error:
        raise ValueError(
            f'the loss of {type(task.model).__name__} can not be differentiated twice: {error}. An operator without a '
            "second derivative is in the way (mmcv's compiled ones have none); another head or loss may do"
        ) from error
    _timed(lambda: gradient(task, task.batches[0], geometry))
    return found[1], _timed(lambda: gradient(task, task.batches[0], geometry))


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(
    task: TaskLoss, settings: Settings,
    product: Tick = lambda done: None, evaluation: Tick = lambda done: None,
) -> dict[str, Any]:  # fmt: skip
    """One checkpoint, whose weights the task's model has; they are the same afterwards.

    Args:
        product, evaluation: told of every product with the Hessian of a batch, and of every gradient of one.

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
        raise ValueError(
            f'the loss is not finite on every batch: {losses}; weights, or a box without area, are at fault'
        )
    found: dict[str, Any] = dict(loss=summary(losses), hessian={}, sharpness={})
    for unit in HESSIANS:
        geometry = make_geometry(task.model, unit, settings.params)
        operators = hessians(task, geometry, product)
        found['hessian'][unit] = dict(
            parameters=geometry.count,
            eigenvalues=largest(operators, settings.eigenvalues, settings.seed),
            trace=trace(operators, settings.probes, settings.seed),
            spectrum=spectrum(operators, settings.lanczos, settings.starts, settings.seed),
        )  # fmt: skip
    for unit in UNITS:
        geometry = make_geometry(task.model, unit, settings.params)
        found['sharpness'][unit] = sharpness(task, geometry, settings.radii, settings.ascent, evaluation)
    return dict(**found, seconds=time.perf_counter() - start)
