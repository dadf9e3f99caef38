"""The files of a comparison's report: the tables in Markdown, and every run as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refconv_mm.files.writing import write_text

from ..tables import write_csv
from .plan_runs import PlanRuns
from .report import markdown, report_lines, training_loss


def write_report(plan_runs: PlanRuns, command: str) -> list[Path]:
    """Writes `report.md` and `runs.csv` into the plan's folder.

    Args:
        command: the command line that the report shows.

    Returns:
        The files; none if no run is finished.

    Raises:
        ValueError: arms did not see the same data, or a metric was not measured; nothing is written.
    """
    found = report_lines(plan_runs)
    if not found:
        return []
    text, folder = markdown(plan_runs, found, command), plan_runs.out_dir
    write_text(folder / 'report.md', text)
    return [folder / 'report.md', write_csv(folder / 'runs.csv', runs_rows(plan_runs))]


def runs_rows(plan_runs: PlanRuns) -> list[dict[str, Any]]:
    """The finished runs, one a row."""
    rows = []
    for run in plan_runs.wanted():
        result = plan_runs.result(run)
        if result is None:
            continue
        row = dict(task=run.task, arm=run.arm, seed=run.seed, diverged=result['diverged'])
        row |= {key: result.get(key, '') for key in ('round', 'steps', 'seconds', 'total_seconds', 'trainable')}
        row |= {f'test/{name}': value for name, value in result['metrics'].items()}
        row |= dict(train_loss=training_loss(result))
        row |= {key: result.get(key, '') for key in ('max_norm', 'grad_norm', 'clipped')}
        row |= dict(order=result.get('data', {}).get('order', ''), commit=result['identity']['commit'])
        rows.append(row | dict(folder=str(plan_runs.prepare(run).folder)))
    return rows
