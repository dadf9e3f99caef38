"""Tests a refocused, fused or plain checkpoint; a refocused one is fused in memory first.

refconv test work_dirs/my_run/fused.py work_dirs/my_run/fused.pth
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from rich import print as rich_print
from rich.table import Table

from ..files.writing import write_json
from ..running.runner import leave_process_group, runner_for_checkpoint
from . import arguments
from .run_arguments import add_run_arguments, open_run_config


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser)
    parser.add_argument('checkpoint')
    add_run_arguments(parser)
    arguments.add_ema(parser)
    parser.add_argument('--out', metavar='FILE.json', help='also write the metrics here')


def run(args: Namespace) -> None:
    """Tests and prints the metrics."""
    cfg = open_run_config(args)
    runner, what = runner_for_checkpoint(cfg, args.checkpoint, args.ema, args.trust, quiet=True)
    metrics = runner.test()
    if is_main_process():
        print(f'{args.checkpoint}: {what}')
        rich_print(metrics_table(metrics))
        if args.out:
            write_json(Path(args.out), metrics)
    leave_process_group()


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Metrics as a table, one a row."""
    table = Table()
    table.add_column('metric')
    table.add_column('value', justify='right')
    for name, value in metrics.items():
        table.add_row(name, f'{value:.4f}' if isinstance(value, float) else str(value))
    return table
