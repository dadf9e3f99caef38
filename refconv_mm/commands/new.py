"""Writes configs for a folder of data: a baseline, its control, a refocused config, and a plan that compares them.

refconv new DATASET_DIR --out my_config
refconv train my_config/baseline.py
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import arguments
from ..data.new import SHIPPED, write_configs


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        'data',
        metavar='DATASET_DIR',
        help='as VOC, COCO, YOLO, Cityscapes, masks or class folders',
    )
    parser.add_argument('--task', choices=tuple(SHIPPED), help='(default: what the layout is for)')
    parser.add_argument('--out', required=True, metavar='DIR', help='where the configs go')
    arguments.add_force(parser, 'earlier configs')


def run(args: Namespace) -> None:
    """Looks at the data and writes."""
    written, found = write_configs(Path(args.data), Path(args.out), args.task, args.force)
    print(found)
    for path in written:
        print(f'wrote {path}')
    baseline = next(path for path in written if path.stem == 'baseline')
    print(f'next: refconv check-data {baseline}; refconv train {baseline}; then the first lines of the other files')
