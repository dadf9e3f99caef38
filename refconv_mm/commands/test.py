"""Tests a refocused, fused or plain checkpoint; a refocused one is fused in memory first.

refconv test work_dirs/my_run/fused.py work_dirs/my_run/fused.pth
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmengine.dist import is_main_process

from ..files.writing import check_free, write_json
from ..running.metrics import shown_values
from ..running.runner import leave_process_group, runner_for_checkpoint
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser)
    parser.add_argument('checkpoint')
    arguments.add_run_arguments(parser)
    arguments.add_ema(parser)
    parser.add_argument('--tta', action='store_true', help="test-time augmentation, by the config's tta_model")
    parser.add_argument('--out', metavar='FILE.json', type=Path, help='also write the metrics here')
    arguments.add_force(parser, 'FILE.json')


def run(args: Namespace) -> None:
    """Tests and prints the metrics."""
    cfg = arguments.open_run_config(args)
    if args.out:
        check_free(args.out.parent, [args.out.name], args.force)
    runner, tested = runner_for_checkpoint(cfg, args.checkpoint, args.ema, args.trust, quiet=True, tta=args.tta)
    metrics = runner.test()
    if is_main_process():
        print(f'{args.checkpoint}: {tested}')
        print('\n'.join(f'  {value}' for value in shown_values(metrics)))
        if args.out:
            write_json(args.out, metrics)
    leave_process_group()
