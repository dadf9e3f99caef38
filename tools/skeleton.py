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
from refconv_mm.analysis.options import add_kernel_options, open_kernels
from refconv_mm.analysis.skeleton_report import run


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_kernel_options(parser)
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/skeleton.py', *sys.argv[1:]])
    try:
        sets = open_kernels(args)
        written = run(sets, Path(args.out_dir), command, args.force)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    print(written[0].read_text().split('## Centre')[0])
    for path in written:
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
