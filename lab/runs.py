"""Names and records of runs; the demo and the tests use them, too."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config


def name_run(cfg: Config, name: str) -> None:
    """Gives a run a name of its own; runners of one process share loggers and visualizers by name."""
    cfg.experiment_name = f'{name}_{time.time_ns()}'
    if 'visualizer' in cfg:
        cfg.visualizer.name = cfg.experiment_name


def read_json(path: Path) -> Any:
    """Reads JSON; None if the file does not exist."""
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None
