"""Reads plans from their files and checks them before a run starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from refconv_mm.commands.arguments import read_config

from .plan import BASELINE, CONTROL, SCHEDULES, Arm, Baseline, Budget, Plan, Task, find_file


def read_plan(path: str | Path, seeds: Sequence[int] | None = None, steps: int | None = None) -> Plan:
    """Reads a plan.

    Args:
        path: a Python config.
        seeds: in place of the plan's.
        steps: the length of every training, for a trial.

    Raises:
        FileNotFoundError: the plan, or a config or checkpoint that it names, does not exist.
        ValueError: a key of the plan is missing, unknown or contradicts another; the message names the place.
    """
    values = read_config(path, 'plan')._cfg_dict.to_dict()
    where = str(path)
    for name in ('tasks', 'arms', 'seeds'):
        if not values.get(name):
            raise ValueError(f'{where}: a plan needs {name}')
    shared = _budget(values.get('budget'), f'{where}: budget')
    plan = Plan(
        path=Path(path).resolve(),
        tasks={name: _task(name, task, shared, f'{where}: tasks.{name}') for name, task in values['tasks'].items()},
        arms={name: _arm(name, arm, f'{where}: arms.{name}') for name, arm in values['arms'].items()},
        seeds=_seeds(values['seeds'] if seeds is None else seeds, f'{where}: seeds'),
    )
    _check(plan, where)
    return plan if steps is None else _with_steps(plan, steps)


def _with_steps(plan: Plan, steps: int) -> Plan:
    """The plan with shorter trainings; warm-up and validation are scaled."""
    if steps < 1:
        raise ValueError(f'--steps must be at least 1, got {steps}')

    def cut(budget: Budget | None) -> Budget:
        if budget is None:
            return Budget(steps)
        part = steps / budget.steps
        every = None if budget.val_every is None else max(1, round(budget.val_every * part))
        return replace(
            budget, steps=steps, warmup=min(steps - 1, round(budget.warmup * part)), val_every=every, save_every=None
        )

    tasks = {
        name: replace(task, budget=cut(task.budget), baseline=replace(task.baseline, budget=cut(task.baseline.budget)))
        for name, task in plan.tasks.items()
    }
    return replace(plan, tasks=tasks)


def _task(name: str, values: dict, shared: Budget | None, where: str) -> Task:
    _known(values, Task.__dataclass_fields__, where)
    for key in ('config', 'baseline', 'metric'):
        if not values.get(key):
            raise ValueError(f'{where} needs {key}')
    baseline = dict(values['baseline'])
    _known(baseline, Baseline.__dataclass_fields__, f'{where}.baseline')
    if not baseline.get('checkpoint') and not baseline.get('config'):
        raise ValueError(f'{where}.baseline needs a checkpoint, or a config to train one')
    baseline['budget'] = _budget(baseline.get('budget'), f'{where}.baseline.budget')
    budget = _budget(values['budget'], f'{where}.budget') if 'budget' in values else shared
    return Task(**{**values, 'name': name, 'baseline': Baseline(**baseline), 'budget': budget})


def _budget(values: dict | None, where: str) -> Budget | None:
    if values is None:
        return None
    _known(values, Budget.__dataclass_fields__, where)
    budget = Budget(**{'steps': 0, **values})
    if not isinstance(budget.steps, int) or budget.steps < 1 or not 0 <= budget.warmup < budget.steps:
        raise ValueError(f'{where}: steps must be at least 1 and warmup less, got {values}')
    if budget.schedule not in SCHEDULES:
        raise ValueError(f'{where}: schedule must be one of {SCHEDULES}, got {budget.schedule!r}')
    return budget


def _arm(name: str, values: dict, where: str) -> Arm:
    own = {key: value for key, value in values.items() if key in Arm.__dataclass_fields__}
    if 'name' in own or 'changes' in own:
        raise ValueError(f'{where}: changes of the config are keys of the arm itself, with dotted names')
    own.setdefault('against', None if name == CONTROL else CONTROL)
    return Arm(name=name, changes={key: value for key, value in values.items() if key not in own}, **own)


def _seeds(values: Any, where: str) -> tuple[int, ...]:
    values = tuple(values) if isinstance(values, list | tuple | range) else (values,)
    if not all(isinstance(seed, int) and seed >= 0 for seed in values) or len(set(values)) < len(values):
        raise ValueError(f'{where} must be different numbers of at least 0, got {values}')
    return values


def _known(values: Any, names: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f'{where} must be a dict, got {values!r}')
    if unknown := set(values) - set(names):
        raise ValueError(f'{where}: unknown {sorted(unknown)}; there are {sorted(names)}')


def _check(plan: Plan, where: str) -> None:
    """Checks the names that refer to each other, and the files that must exist."""
    for arm in plan.arms.values():
        place = f'{where}: arms.{arm.name}'
        if arm.name == BASELINE or '/' in arm.name:
            raise ValueError(f"{place}: an arm cannot be called '{BASELINE}', nor have a slash in its name")
        for key, other in (('start', arm.start), ('against', arm.against), ('speed', arm.speed)):
            if other is not None and other not in plan.arms:
                raise ValueError(f'{place}: {key}={other!r} is no arm of the plan; it has {list(plan.arms)}')
        if unknown := set(arm.tasks) - set(plan.tasks):
            raise ValueError(f'{place}: unknown tasks {sorted(unknown)}; there are {list(plan.tasks)}')
        seen, other = [arm.name], arm.start
        while other is not None:
            if other in seen:
                raise ValueError(f'{place}: starts from itself ({" from ".join([*seen, other])})')
            seen.append(other)
            other = plan.arms[other].start
    for task in plan.tasks.values():
        for file in (task.config, task.baseline.config, task.baseline.checkpoint, task.baseline.start):
            if file is not None:
                find_file(plan, file)
