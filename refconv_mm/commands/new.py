"""Writes configs for a folder of data: a baseline, its control and a refocused config.

refconv new DATASET_DIR --out my_config
refconv train my_config/baseline.py
"""

import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..data.layouts import LAYOUTS
from ..data.new import write_configs
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('data', metavar='DATASET_DIR', help='as VOC, COCO, YOLO, Cityscapes, masks or class folders')
    parser.add_argument('--out', required=True, metavar='DIR', help='where the configs go')
    parser.add_argument('--size', type=arguments.positive, metavar='SIDE', help='the longer side of what the net gets')
    text = "a checkpoint to start from, or imagenet (default: the whole net's from the model zoo)"
    parser.add_argument('--weights', metavar='FILE', help=text)
    add_layout(parser)
    arguments.add_force(parser, 'earlier configs')


def add_layout(parser: ArgumentParser) -> None:
    """`--layout` and `--mask-values`."""
    parser.add_argument('--layout', choices=tuple(LAYOUTS), help='of the data, where several fit')
    text = 'the numbers in label maps that mean class 0, 1, ...'
    parser.add_argument('--mask-values', nargs='+', type=int, choices=range(256), metavar='N', help=text)


def run(args: Namespace) -> None:
    """Looks at the data and writes."""
    options = (args.force, args.size, args.layout, args.mask_values, args.weights)
    written, said = write_configs(Path(args.data), Path(args.out), *options)
    print('\n'.join([*said, *(f'wrote {path}' for path in written)]))
    first = shlex.quote(str(written[0]))
    print(f'next: refconv check-data {first}; refconv train {first}; then the first lines of the other files')
