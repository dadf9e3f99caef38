"""Writes a refocused checkpoint as a plain one, verified, with the plain config beside it.

refconv fuse CONFIG work_dirs/my_run/epoch_20.pth
-> work_dirs/my_run/epoch_20_fused/fused.pth and fused.py
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..checkpoints.fusing import FUSED, fuse_checkpoint, read_checkpoint, write_fused
from ..console import log_console
from ..files.writing import check_free
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, 'the config that the checkpoint was trained with')
    parser.add_argument('checkpoint')
    parser.add_argument('--out-dir', help='where fused.pth and fused.py go (default: <checkpoint>_fused/)')
    arguments.add_ema(parser)
    arguments.add_shape(parser, 'input of the verification')
    arguments.add_force(parser, 'fused.pth and fused.py')
    arguments.add_trust(parser)


def run(args: Namespace) -> None:
    """Fuses, verifies and writes."""
    path = Path(args.checkpoint)
    out_dir = Path(args.out_dir or path.with_name(f'{path.stem}_fused'))
    check_free(out_dir, FUSED, args.force)
    cfg = arguments.open_config(args.config, args.cfg_options)
    checkpoint = read_checkpoint(path, args.trust)
    fused = fuse_checkpoint(cfg, checkpoint, ema=args.ema, source=str(path), shape=args.shape)
    written = write_fused(fused, out_dir, args.force)
    console = log_console()
    console.print(fused.report.table())
    print(f'{fused.checkpoint["meta"]["refconv"]["weights"]} weights; {fused.comparison}')
    for file in written:
        print(f'wrote {file}')
