"""Writes a refocused checkpoint out as a plain one, proven equal, with the plain config beside it.

python tools/fuse.py CONFIG work_dirs/my_run/epoch_20.pth
-> work_dirs/my_run/epoch_20_fused/fused.pth and fused.py
"""

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction
from rich import print as rich_print

import refconv_mm  # noqa: F401
from refconv_mm.checkpoint import fuse_checkpoint, read_checkpoint, write_fused


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config that the checkpoint was trained with')
    parser.add_argument('checkpoint')
    parser.add_argument('--out-dir', help='where fused.pth and fused.py go (default: <checkpoint>_fused/)')
    parser.add_argument('--fold-bn', action='store_true', help='fold batch norm too, for export')
    parser.add_argument('--ema', action=argparse.BooleanOptionalAction, help='averaged weights (default: if there are)')
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'), help='input of the proof (default: test size)'
    )
    parser.add_argument('--force', action='store_true', help='overwrite fused.pth and fused.py')
    parser.add_argument('--trust', action='store_true', help='load the checkpoint even if it would run code')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ... merged into the config')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    path = Path(args.checkpoint)
    try:
        cfg = Config.fromfile(args.config)
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        checkpoint = read_checkpoint(path, args.trust)
        shape = tuple(args.shape) if args.shape else None
        fused = fuse_checkpoint(cfg, checkpoint, ema=args.ema, fold_bn=args.fold_bn, source=str(path), shape=shape)
        written = write_fused(fused, args.out_dir or path.with_name(f'{path.stem}_fused'), args.force)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    rich_print(fused.report.table())
    print(f'{fused.weights} weights; {fused.comparison}')
    for file in written:
        print(f'wrote {file}')


if __name__ == '__main__':
    main()
