"""How large the weights are at each position of the kernels, before and after: centre, cross, corners.

python tools/skeleton.py plain.pth control.pth fused.pth --names before,control,refocused --out-dir work_dirs/inside
-> skeleton.md, skeleton.json, skeleton.png (the net), skeleton_layers.png

Any nets can stand side by side, as far as their layers have the same names and shapes.
"""

import argparse
import shlex
import sys
from pathlib import Path

import refconv_mm  # noqa: F401
from refconv_mm.analysis.kernels import gather
from refconv_mm.analysis.skeleton_report import run


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='BEFORE, then what to compare with it')
    parser.add_argument('--names', help="separated by commas (default: the files' names)")
    parser.add_argument('--out-dir', required=True)
    parser.add_argument('--config', help='the config of those that are refocused')
    parser.add_argument('--include', nargs='+', default=['*'], metavar='GLOB', help='layers by name')
    parser.add_argument('--exclude', nargs='+', default=[], metavar='GLOB')
    parser.add_argument('--force', action='store_true', help='overwrite files of an earlier run')
    parser.add_argument('--trust', action='store_true', help='load checkpoints even if they would run code')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/skeleton.py', *sys.argv[1:]])
    try:
        sets = gather(args.checkpoints, args.names, args.config, args.include, args.exclude, args.trust)
        written = run(sets, Path(args.out_dir), command, args.force)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    print(written[0].read_text().split('## Centre')[0])
    for path in written:
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
