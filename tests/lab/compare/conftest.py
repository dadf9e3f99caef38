"""A plan on the generated streets, and runs in the process of the test, which saves the imports."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from mmengine.config import config

from lab.compare import executor, single_run
from lab.compare.plan_file import read_plan
from lab.compare.plan_runs import PlanRuns
from tests.conftest import DEMO, random_checkpoint, segmenter

ARMS = """
    control=dict(),
    refocused=dict(refocus=dict(init='kaiming')),
    control2=dict(start='control', against=None),
    refocused2=dict(start='refocused', refocus=dict(), against='control2'),
"""


def write_plan(
    folder: Path, city: Path, arms: str = ARMS, steps: int = 2, seeds: str = '[0, 1]', every: int = 100
) -> Path:
    """A plan whose arms start from `folder/start.pth`."""
    start = folder / 'start.pth'
    if not start.is_file():
        random_checkpoint(segmenter(city, folder), start)
    roots = ''.join(f"'{split}_dataloader.dataset.data_root': '{city}/', " for split in ('train', 'val', 'test'))
    text = f"""
tasks = dict(streets=dict(
    config='{DEMO}/deeplabv3plus_mobilenetv2-d8_control_demo.py', baseline=dict(checkpoint='start.pth'), metric='mIoU',
    options={{{roots} 'train_dataloader.batch_size': 2, 'log_level': 'WARNING', 'optim_wrapper.optimizer.lr': 0.2}},
))
arms = dict({arms})
seeds = {seeds}
budget = dict(steps={steps}, save_every={every})
"""
    path = folder / 'plan.py'
    path.write_text(text)
    return path


class InProcess:
    """Replaces the process of a run."""

    started: list[str]

    def __init__(self, command: list[str], env: dict, stdout, stderr) -> None:
        self.code = 0
        type(self).started.append(command[-1])
        try:
            single_run.complete_run(Path(command[-1]))
        except Exception:
            traceback.print_exc(file=stdout)
            self.code = 1

    def poll(self) -> int:
        return self.code

    def terminate(self) -> None:
        pass

    def wait(self) -> int:
        return self.code


@pytest.fixture
def inside(monkeypatch) -> list[str]:
    """Makes runs happen in this process; returns the list of the folders of started runs."""
    InProcess.started = []
    monkeypatch.setattr(executor, 'Popen', InProcess)
    monkeypatch.setattr(executor, 'POLL', 0.0)
    # Formatting configs would take most of the time.
    monkeypatch.setattr(config, 'FormatCode', lambda text, **_: (text, True), raising=False)
    return InProcess.started


def open_runs(plan: Path, out: Path) -> PlanRuns:
    return PlanRuns(read_plan(plan), out)
