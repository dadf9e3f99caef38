"""Runs the benchmark's cases one by one, keeping each on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.progress import Progress, TimeElapsedColumn

from refconv_mm.files.writing import write_whole
from . import measure
from .figure import draw
from .report import report

PARTS = ('cases', 'fuse', 'grow')


def run_suite(
    suite: Config, out_dir: Path, command: str, only: Sequence[str] = (), parts: Sequence[str] = PARTS,
    seconds: float = 30.0,
) -> list[Path]:  # fmt: skip
    """Measures what is missing and writes the report.

    Args:
        suite: a config with `models`, and if wanted `fuse` and `grow`; see lab/configs/benchmark/suite.py.
        out_dir: results go to `out_dir/cases/*.json`, the report to `report.md`, `results.json` and figures. A case
            that is there already, measured by these versions on this machine, is not measured again.
        only: names of models; all of them if empty.
        seconds: about how long the timed part of one case takes.

    Returns:
        The files written.

    Raises:
        ValueError: an unknown model or part.
    """
    models = suite.get('models', {})
    if unknown := set(only) - set(models):
        raise ValueError(f'--only must be of {list(models)}, got {sorted(unknown)}')
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f'parts must be of {PARTS}, got {sorted(unknown)}')
    folder = Path(suite.filename).parent
    (out_dir / 'cases').mkdir(parents=True, exist_ok=True)
    tasks: list[tuple[str, Callable[[], Any]]] = []
    if 'cases' in parts:
        for name in only or models:
            for batch in models[name]['batches']:
                call = partial(measure.measure_case, name, models[name], batch, seconds, folder)
                tasks.append((f'{name}-b{batch}', call))
    if 'fuse' in parts and suite.get('fuse'):
        tasks.append(('fuse', partial(measure.measure_fuse, suite.fuse, folder)))
    if 'grow' in parts:
        tasks += [(f'grow-{width}', partial(_growth, width)) for width in suite.get('grow', [])]
    done = _run(tasks, out_dir / 'cases')
    results = dict(
        cases=[r for name, r in done.items() if 'training' in r],
        fuse=done.get('fuse'),
        growth=[row for name, r in done.items() if name.startswith('grow-') for row in r['rows']],
    )
    text = report(results, command)
    write_whole(out_dir / 'results.json', lambda path: Path(path).write_text(json.dumps(results, indent=1)))
    write_whole(out_dir / 'report.md', lambda path: Path(path).write_text(text))
    return [out_dir / 'report.md', out_dir / 'results.json', *draw(results, out_dir)]


def _growth(width: int) -> dict[str, Any]:
    return dict(rows=list(measure.grow([width])), **measure.machine())


def _run(tasks: list[tuple[str, Callable[[], Any]]], folder: Path) -> dict[str, Any]:
    done: dict[str, Any] = {}
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        bar = progress.add_task('benchmark', total=len(tasks))
        for name, task in tasks:
            progress.update(bar, description=name)
            path = folder / f'{name}.json'
            done[name] = _known(path)
            if done[name] is None:
                result = done[name] = task()
                write_whole(path, lambda file, result=result: Path(file).write_text(json.dumps(result)))
                progress.console.print(f'{name}: {_brief(result)}')
            progress.advance(bar)
    return done


def _known(path: Path) -> Any:
    """A result of an earlier run on this machine by these versions; None otherwise."""
    if not path.is_file():
        return None
    result, here = json.loads(path.read_text()), measure.machine()
    return result if all(result.get(key) == here[key] for key in here if key != 'time') else None


def _brief(result: dict[str, Any]) -> str:
    parts = [result.get('training') or {}, result.get('inference') or {}]
    ratios = [f'{name} {part[name]["ratio"][0]:.3f}' for part in parts for name in part if name != 'plain']
    return ', '.join(ratios) or 'done'
