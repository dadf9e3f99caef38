"""Turns a refocused checkpoint of one form into the other, proven equal, with its config beside it.

python tools/convert.py CONFIG work_dirs/my_run/epoch_20.pth --form explicit
-> work_dirs/my_run/epoch_20_explicit/explicit.pth and explicit.py

The optimizer's state belongs to the old maps and is left out: start from the result with --init, not --resume.
"""

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction

import refconv_mm  # noqa: F401
from refconv_mm.checkpoint import read_checkpoint
from refconv_mm.convert import convert_checkpoint, write_converted
from refconv_mm.functional import FORMS


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config that the checkpoint was trained with')
    parser.add_argument('checkpoint')
    parser.add_argument('--form', choices=FORMS, required=True)
    parser.add_argument('--out-dir', help='where the two files go (default: <checkpoint>_<form>/)')
    parser.add_argument('--ema', action=argparse.BooleanOptionalAction, help='averaged weights (default: if there are)')
    parser.add_argument('--shape', nargs=2, type=int, metavar=('H', 'W'), help='input of the proof')
    parser.add_argument('--force', action='store_true', help='overwrite the two files')
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
        made = convert_checkpoint(cfg, checkpoint, args.form, ema=args.ema, source=str(path), shape=shape)
        written = write_converted(made, args.out_dir or path.with_name(f'{path.stem}_{args.form}'), args.force)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    before, after = made.sizes
    print(f'{made.weights} weights; maps of {before:,} numbers became {after:,}; {made.comparison}')
    for file in written:
        print(f'wrote {file}')


if __name__ == '__main__':
    main()
