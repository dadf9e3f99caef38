"""Trains, refocuses, fuses and tests a detector and a segmenter on synthetic data, beside their controls.

python -m demo    # or: make demo
"""

import argparse
import sys
import warnings
from pathlib import Path

from refconv_mm.commands import run_tool

from .main import run_demo

CONFIGS = Path(__file__).parents[1] / 'configs' / 'demo'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), help='data, runs, table and figures')
    parser.add_argument('--seed', type=int, default=0)


def run(args: argparse.Namespace) -> None:
    warnings.simplefilter('ignore')  # of old code upstream
    run_demo(CONFIGS, args.out, args.seed)


if __name__ == '__main__':
    run_tool(sys.modules[__name__], __doc__)
