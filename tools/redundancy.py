"""How alike the channels of each layer are, before and after: KL divergence, cosine, effective rank.

python tools/redundancy.py plain.pth control.pth fused.pth --names before,control,refocused --out-dir work_dirs/inside
-> redundancy.md, redundancy.json, redundancy.png (over depth), redundancy_heat-*.png (channels against channels)

Trainings of one net are compared layer by layer. With --unmatched any nets stand side by side (one with SE or CBAM, a
ResNet beside a MobileNet): means over each net's own layers, a figure over relative depth, layers compared where names
and shapes are the same. Of a re-parameterised net (RepVGG) give the weights that it is deployed with: the branches of
its training form are not the kernels that it computes with.
"""

import argparse
import shlex
import sys
from pathlib import Path

import refconv_mm  # noqa: F401
from refconv_mm.analysis.options import add_kernel_options, open_kernels
from refconv_mm.analysis.redundancy import PAIRWISE
from refconv_mm.analysis.redundancy_report import run


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_kernel_options(parser)
    parser.add_argument('--max-channels', type=int, default=1024, help='of a layer, a sample (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--heat', choices=PAIRWISE, default='kl_magnitude', help='heat maps of (default: %(default)s)')
    parser.add_argument('--unmatched', action='store_true', help='take nets whose layers differ')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/redundancy.py', *sys.argv[1:]])
    try:
        sets = open_kernels(args, match=not args.unmatched)
        written = run(sets, Path(args.out_dir), command, args.force, args.max_channels, args.seed, args.heat)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    print(written[0].read_text().split('## KL')[0])
    for path in written:
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
