"""Runs the benchmark's cases one by one, keeping each on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from refconv_mm.files.writing import write_json, write_text

from ..runs import read_json
from . import measure
from .report import report


def run_suite(
    suite: Config, out_dir: Path, command: str, only: Sequence[str] = (), seconds: float = 30.0
) -> list[Path]:
    """Measures the missing cases and writes the report.

    Args:
        suite: a config with `models`; see lab/configs/benchmark/suite.py.
        out_dir: results go to `out_dir/cases/*.json`, the report to `report.md` and `results.json`. A case that is
            there already, measured by these versions on this machine, is not measured again.
        only: names of models; all of them if empty.
        seconds: about how long the timed part of one case takes.

    Returns:
        The files written.

    Raises:
        ValueError: an unknown model.
    """
    models, folder, cases = suite.get('models', {}), Path(suite.filename).parent, []
    if unknown := set(only) - set(models):
        raise ValueError(f'--only must be of {list(models)}, got {sorted(unknown)}')
    (out_dir / 'cases').mkdir(parents=True, exist_ok=True)
    wanted = [(name, batch) for name in only or models for batch in models[name]['batches']]
    for model, batch in wanted:
        path, here = out_dir / 'cases' / f'{model}-b{batch}.json', measure.machine()
        known = read_json(path) or {}
        if any(known.get(key) != here[key] for key in here if key != 'time'):
            known = measure.measure_case(model, models[model], batch, seconds, folder)
            write_json(path, known)
            ratios = [f'{form} {part["ratio"][0]:.3f}' for form, part in known['training'].items() if form != 'plain']
            print(f'{path.stem}: {", ".join(ratios)}', flush=True)
        cases.append(known)
    write_json(out_dir / 'results.json', cases)
    write_text(out_dir / 'report.md', report(cases, command))
    return [out_dir / 'report.md', out_dir / 'results.json']
