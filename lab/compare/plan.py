"""Plans: tasks, arms and seeds of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASELINE = 'baseline'
CONTROL = 'control'
SCHEDULES = ('cosine', 'poly', 'constant')


@dataclass(frozen=True)
class Budget:
    """The length of a training; it replaces the config's own loop and schedule.

    Attributes:
        steps: number of steps.
        warmup: the first of them, in which the learning rate rises linearly.
        schedule: of the learning rate after that, one of `SCHEDULES`.
        val_every: steps between validations during training; None for none.
        save_every: steps between checkpoints to resume from; None for a fifth of the run.
    """

    steps: int
    warmup: int = 0
    schedule: str = 'cosine'
    val_every: int | None = None
    save_every: int | None = None


@dataclass(frozen=True)
class Baseline:
    """The checkpoint that the arms of a task start from.

    Attributes:
        checkpoint: a trained checkpoint; the other attributes are then not used.
        config: the config that trains the baseline.
        start: the checkpoint that this training starts from; None for the start that the config names.
        seed: of the baseline; None to train a baseline for each seed.
        options, budget: as in :class:`Task`.
    """

    checkpoint: str | None = None
    config: str | None = None
    start: str | None = None
    seed: int | None = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget | None = None


@dataclass(frozen=True)
class Task:
    """A data set and a net.

    Attributes:
        config: the config of every arm, before its own changes.
        baseline: the start of the arms.
        metric: name of the metric that decides, as the test prints it.
        scale: a factor on the metric in reports.
        options: changes of the config for the baseline and all arms.
        budget: the length of the training of each arm.
    """

    name: str
    config: str
    baseline: Baseline
    metric: str
    scale: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget | None = None


@dataclass(frozen=True)
class Arm:
    """A difference from the task's config.

    Attributes:
        changes: of the config, by dotted name.
        refocus: options of `RefocusedBackbone`, which wraps the backbone; None for no refocusing.
        start: the arm whose fused checkpoint it starts from; None for the baseline.
        against: the arm that it is compared with; None for none.
        speed: a refocused arm. The learning rate of each kernel that it refocuses is multiplied by the mean diagonal
            of the kernel's Gram matrix.
        tasks: the tasks of the arm; all of them if empty.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    refocus: Mapping[str, Any] | None = None
    start: str | None = None
    against: str | None = CONTROL
    speed: str | None = None
    tasks: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        path: the file of the plan; paths in it are relative to its folder or to the working directory.
        tasks, arms: by name.
        seeds: of the runs that are reported.
    """

    path: Path
    tasks: dict[str, Task]
    arms: dict[str, Arm]
    seeds: tuple[int, ...]

    def arms_of(self, task: str) -> list[Arm]:
        """The arms of a task, in the plan's order."""
        return [arm for arm in self.arms.values() if not arm.tasks or task in arm.tasks]

    def round_of(self, arm: str) -> int:
        """How many arms lie between an arm and the baseline."""
        start = self.arms[arm].start if arm in self.arms else None
        return 0 if start is None else 1 + self.round_of(start)


def find_file(plan: Plan, path: str) -> str:
    """A path of the plan, relative to the plan's folder or to the working directory; `scope::name` stays as it is.

    Raises:
        FileNotFoundError: the file is in neither.
    """
    if '::' in path:
        return path
    candidates = [plan.path.parent / path, Path(path)]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise FileNotFoundError(f'{plan.path}: there is neither {" nor ".join(map(str, candidates))}')
    return str(found)
