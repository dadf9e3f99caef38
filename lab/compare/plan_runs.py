"""The runs of a plan: their names, their starts, and the results of those that are done."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from refconv_mm.files.writing import read_json

from .identity import key_of, run_identity
from .plan import BASELINE, Plan, Point, find_file
from .run_configs import arm_config, baseline_config


class Run(NamedTuple):
    """One training: an arm of a task with a seed, at a point of the grid (or the task's baseline)."""

    task: str
    arm: str
    seed: int
    point: Point = ()

    def __str__(self) -> str:
        point = ','.join(f'{name.rpartition(".")[2]}={value}' for name, value in self.point)
        return f'{self.task}/{self.arm}{f"[{point}]" if point else ""}/seed {self.seed}'


@dataclass(frozen=True)
class PreparedRun:
    """A run whose start exists.

    Attributes:
        folder: the folder of the run; its name has the hash, so no file of another commit or config is in it.
        cfg: the config of the run.
        record: the content of `run.json`.
    """

    run: Run
    folder: Path
    cfg: Config
    record: dict[str, Any]


class PlanRuns:
    """The runs that a plan needs, and the results that are in its folder.

    Args:
        plan: the plan.
        out_dir: runs go to `out_dir/<task>/<arm>/seed<seed>-<hash>`.
        only: `TASK`, `ARM` or `TASK/ARM`; everything if empty. The runs that those start from are added.

    Raises:
        ValueError: the plan does not have a name in `only`.
    """

    def __init__(self, plan: Plan, out_dir: Path, only: Sequence[str] = ()) -> None:
        self.plan, self.out_dir, self.only = plan, out_dir, only
        self._prepared: dict[Run, PreparedRun] = {}
        self._results: dict[Run, dict[str, Any]] = {}
        self.broken: dict[Run, str] = {}  # the reasons why configs of runs cannot be made
        pairs = [(task, arm.name) for task in plan.tasks for arm in plan.arms_of(task)]
        names = {*plan.tasks, *(arm for _, arm in pairs), *(f'{task}/{arm}' for task, arm in pairs)}
        if unknown := [name for name in only if name not in names]:
            raise ValueError(
                f'--only: unknown {unknown}; there are tasks {list(plan.tasks)} and arms {list(plan.arms)}'
            )
        self.pairs = [(task, arm) for task, arm in pairs if not only or {task, arm, f'{task}/{arm}'} & set(only)]

    # -- the runs ------------------------------------------------------------------------------------------

    def wanted(self) -> list[Run]:
        """The runs that the plan needs as far as they are known, each after the run that it starts from.

        With a grid, an arm's reported runs are known once its tuning is done.
        """
        runs: dict[Run, None] = {}
        for task, arm in self.pairs:
            for run in [*self.tuning(task, arm), *(self.reported(task, arm) or [])]:
                for one in self._line(run):
                    runs[one] = None
        return list(runs)

    def tuning(self, task: str, arm: str) -> list[Run]:
        """The runs that choose an arm's point of the grid; none without a grid."""
        if not self.plan.grid:
            return []
        return [Run(task, arm, seed, point) for point in self.plan.points() for seed in self.plan.tune_seeds]

    def reported(self, task: str, arm: str) -> list[Run] | None:
        """The runs of the report; None while the tuning of the arm is not done."""
        point = self.chosen(task, arm)
        return None if point is None else [Run(task, arm, seed, point) for seed in self.plan.seeds]

    def chosen(self, task: str, arm: str) -> Point | None:
        """The point with the best mean on the validation split over the tuning seeds; None while it is unknown.

        A point at which a run diverged counts as the worst.
        """
        if not self.plan.grid:
            return ()
        scores = {}
        for point in self.plan.points():
            results = [self.result(Run(task, arm, seed, point)) for seed in self.plan.tune_seeds]
            values = [self.value(result, 'val') for result in results if result is not None]
            if len(values) < len(results):
                return None
            sign = 1 if self.plan.tasks[task].higher_is_better else -1
            mean = statistics.fmean(values)
            scores[point] = sign * mean if math.isfinite(mean) else -math.inf
        return max(scores, key=lambda point: scores[point])

    def start_of(self, run: Run) -> Run | str | None:
        """The start of a run: another run, a checkpoint, or None for the start that its config names."""
        baseline = self.plan.tasks[run.task].baseline
        if run.arm == BASELINE:
            return None if baseline.start is None else find_file(self.plan, baseline.start)
        before = self.plan.arms[run.arm].start
        if before is not None:
            point = self.chosen(run.task, before)
            return Run(run.task, before, run.seed, point if point is not None else self.plan.points()[0])
        if baseline.checkpoint:
            return find_file(self.plan, baseline.checkpoint)
        return Run(run.task, BASELINE, run.seed if baseline.seed is None else baseline.seed)

    def _line(self, run: Run) -> Iterator[Run]:
        """A run after all runs that it starts from; a start whose point is unknown comes after its tuning."""
        start = self.start_of(run)
        if isinstance(start, Run):
            if start.arm != BASELINE:
                for other in self.tuning(start.task, start.arm):
                    yield from self._line(other)
            yield from self._line(start)
        yield run

    def ready(self, run: Run) -> bool:
        """Whether the start of a run exists."""
        start = self.start_of(run)
        if not isinstance(start, Run):
            return True
        before = None if run.arm == BASELINE else self.plan.arms[run.arm].start
        if before is not None and self.chosen(run.task, before) is None:
            return False
        return bool((self.result(start) or {}).get('weights'))

    # -- the results ---------------------------------------------------------------------------------------

    def prepare(self, run: Run) -> PreparedRun:
        """The config, the hash and the folder of a run that is ready.

        Raises:
            FileNotFoundError, ValueError: the start of the run does not exist, or its config cannot be made.
        """
        if run not in self._prepared:
            task, start = self.plan.tasks[run.task], self.start_of(run)
            checkpoint = str(self.prepare(start).folder / 'fused.pth') if isinstance(start, Run) else start
            if run.arm == BASELINE:
                cfg = baseline_config(self.plan, task, run.seed)
            else:
                assert checkpoint is not None
                cfg = arm_config(self.plan, task, self.plan.arms[run.arm], run.seed, run.point, checkpoint)
            parts = run_identity(cfg, checkpoint)
            folder = self.out_dir / run.task / run.arm / f'seed{run.seed}-{key_of(parts)[:12]}'
            record = dict(task=run.task, arm=run.arm, seed=run.seed, point=dict(run.point), start=checkpoint)
            split = 'val' if run.seed in self.plan.tune_seeds and run.arm != BASELINE else 'test'
            record |= dict(round=self.plan.round_of(run.arm), metric=task.metric, split=split, identity=parts)
            self._prepared[run] = PreparedRun(run, folder, cfg, record)
        return self._prepared[run]

    def result(self, run: Run) -> dict[str, Any] | None:
        """The result of a run with this commit, config and start; None if it is not done."""
        if run not in self._results:
            if run in self.broken or not self.ready(run):
                return None
            try:
                prepared = self.prepare(run)
            except (ValueError, TypeError, FileNotFoundError) as error:
                self.broken[run] = str(error)
                return None
            found = read_json(prepared.folder / 'result.json')
            if found is None or found['identity'] != prepared.record['identity']:
                return None
            if not found['diverged'] and prepared.record['split'] not in found['metrics']:
                return None
            self._results[run] = found
        return self._results[run]

    def value(self, result: dict[str, Any], split: str, metric: str | None = None) -> float:
        """A metric of a split; NaN if the run diverged.

        Args:
            result: of :meth:`result`.
            split: `'val'` or `'test'`.
            metric: its name; by default the task's metric.

        Raises:
            ValueError: the test did not measure the metric.
        """
        if result['diverged']:
            return math.nan
        metrics, name = result['metrics'][split], metric or self.plan.tasks[result['task']].metric
        if name not in metrics:
            raise ValueError(
                f'{self.plan.path}: tasks.{result["task"]}: no metric {name!r} was measured; there are {list(metrics)}'
            )
        return float(metrics[name])
