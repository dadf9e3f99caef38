"""What the tests of faulty inputs share."""

from pathlib import Path

import pytest
from mmengine.config import Config

from lab.runs import name_run
from refconv_mm import commands


def command(capsys: pytest.CaptureFixture, name: str, cfg: Config, folder: Path, *words: object) -> tuple[int, str]:
    """Runs a command of `refconv` on a config in this process; returns its exit code and what it said."""
    name_run(cfg, 'faults')  # runs of one process share visualizers by name, and a refused one removes its folder
    cfg.dump(folder / 'config.py')
    return call(capsys, name, folder / 'config.py', *words)


def call(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str]:
    """Runs `refconv` in this process; returns its exit code and what it said."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        commands.main([str(word) for word in words])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out + captured.err
