"""How well the Gram matrix of the basis predicts what training changed in the kernels; see docs/theory.md.

python tools/theory.py plain.pth control.pth refocused.pth --names before,control,refocused --config CONFIG --out-dir o
python tools/theory.py plain.pth --out-dir o      # the Gram matrices alone: speed, directions, positions
-> theory.md, theory.json, theory_gram.png, theory.png

Without --config every layer larger than 1x1 is taken for depthwise or dense by its shape, and refocused with --map-k.
"""

import argparse
import shlex
import sys
from pathlib import Path

from mmengine.config import Config

import refconv_mm  # noqa: F401
from refconv_mm.analysis.kernels import gather
from refconv_mm.analysis.theory_report import run


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='BEFORE, then what it became')
    parser.add_argument('--names', help="separated by commas (default: the files' names)")
    parser.add_argument('--out-dir', required=True)
    parser.add_argument('--config', help='of the refocused ones; only its RefConv layers are measured')
    parser.add_argument('--include', nargs='+', default=['*'], metavar='GLOB', help='layers by name')
    parser.add_argument('--exclude', nargs='+', default=[], metavar='GLOB')
    parser.add_argument('--map-k', type=int, default=3, help='without --config (default: %(default)s)')
    parser.add_argument('--max-groups', type=int, default=4096, help='of a layer, a sample (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--force', action='store_true', help='overwrite files of an earlier run')
    parser.add_argument('--trust', action='store_true', help='load checkpoints even if they would run code')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/theory.py', *sys.argv[1:]])
    try:
        sets = gather(args.checkpoints, args.names, args.config, args.include, args.exclude, args.trust)
        cfg = Config.fromfile(args.config) if args.config else None
        options = cfg, args.map_k, args.max_groups, args.seed
        written = run(sets, Path(args.out_dir), command, args.force, *options)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    print(written[0].read_text().split('## Gram')[0])
    for path in written:
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
