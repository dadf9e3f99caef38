"""The runs of a plan: their names, their starts, and the results of those that are done."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..runs import read_json
from .identity import key_of, run_identity
from .plan import BASELINE, Plan, find_file
from .run_configs import arm_config, baseline_config


class Run(NamedTuple):
    """One training: an arm of a task, or its baseline, with a seed."""

    task: str
    arm: str
    seed: int

    def __str__(self) -> str:
        return f'{self.task}/{self.arm}/seed {self.seed}'


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
        """The runs that the plan needs, each after the run that it starts from."""
        runs: dict[Run, None] = {}
        for task, arm in self.pairs:
            for seed in self.plan.seeds:
                runs |= dict.fromkeys(self._line(Run(task, arm, seed)))
        return list(runs)

    def start_of(self, run: Run) -> Run | str | None:
        """The start of a run: another run, a checkpoint, or None for the start that its config names."""
        baseline = self.plan.tasks[run.task].baseline
        if run.arm == BASELINE:
            return None if baseline.start is None else find_file(self.plan, baseline.start)
        before = self.plan.arms[run.arm].start
        if before is not None:
            return Run(run.task, before, run.seed)
        if baseline.checkpoint:
            return find_file(self.plan, baseline.checkpoint)
        return Run(run.task, BASELINE, run.seed if baseline.seed is None else baseline.seed)

    def _line(self, run: Run) -> Iterator[Run]:
        """A run after all runs that it starts from."""
        start = self.start_of(run)
        if isinstance(start, Run):
            yield from self._line(start)
        yield run

    def ready(self, run: Run) -> bool:
        """Whether the start of a run exists."""
        start = self.start_of(run)
        if not isinstance(start, Run):
            return True
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
                cfg = arm_config(self.plan, task, self.plan.arms[run.arm], run.seed, checkpoint)
            parts = run_identity(cfg, checkpoint)
            folder = self.out_dir / run.task / run.arm / f'seed{run.seed}-{key_of(parts)[:12]}'
            record = dict(task=run.task, arm=run.arm, seed=run.seed, start=checkpoint, metric=task.metric)
            record |= dict(round=self.plan.round_of(run.arm), identity=parts)
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
            self._results[run] = found
        return self._results[run]

    def value(self, result: dict[str, Any]) -> float:
        """The task's metric on the test split; NaN if the run diverged."""
        if result['diverged']:
            return math.nan
        return float(result['metrics'][self.plan.tasks[result['task']].metric])
