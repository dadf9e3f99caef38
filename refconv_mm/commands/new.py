"""Writes configs for a folder of data: a baseline, its control and a refocused config.

refconv new DATASET_DIR --out my_config
refconv train my_config/baseline.py
"""

import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..data.layouts import LAYOUTS
from ..data.new import expected_time, write_configs
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('data', metavar='DATASET_DIR', help='as VOC, COCO, YOLO, Cityscapes, masks or class folders')
    parser.add_argument('--out', required=True, metavar='DIR', help='where the configs go')
    parser.add_argument('--size', type=arguments.positive, metavar='SIDE', help='the longer side of what the net gets')
    parser.add_argument('--weights', metavar='FILE', help='a checkpoint to start from (default: of the model zoo)')
    parser.add_argument('--layout', choices=tuple(LAYOUTS), help='of the data, where several fit')
    text = 'the numbers in label maps that mean class 0, 1, ...'
    parser.add_argument('--mask-values', nargs='+', type=int, choices=range(256), metavar='N', help=text)
    arguments.add_force(parser, 'earlier configs')


def run(args: Namespace) -> None:
    """Looks at the data and writes."""
    options = (args.force, args.size, args.layout, args.mask_values, args.weights)
    written, said = write_configs(Path(args.data), Path(args.out), *options)
    print('\n'.join([*said, *(f'wrote {path}' for path in written), expected_time(written[0])]))
    first = shlex.quote(str(written[0]))
    print(f'next: refconv check-data {first}; refconv train {first}; then the first lines of the other files')
