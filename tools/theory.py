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
from refconv_mm.analysis.options import add_kernel_options, open_kernels
from refconv_mm.analysis.theory_report import run


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_kernel_options(parser)
    parser.add_argument('--map-k', type=int, default=3, help='without --config (default: %(default)s)')
    parser.add_argument('--max-groups', type=int, default=4096, help='of a layer, a sample (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/theory.py', *sys.argv[1:]])
    try:
        sets = open_kernels(args)
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
