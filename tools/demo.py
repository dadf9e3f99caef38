"""Trains, refocuses, fuses and tests a detector and a segmenter on made data, beside their controls.

make demo
"""

import argparse
import warnings
from pathlib import Path

import refconv_mm  # noqa: F401
from refconv_mm.demo import run_demo


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), help='data, runs, table and figures')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    warnings.simplefilter('ignore')  # of upstream, about its own future
    run_demo(Path(__file__).parents[1] / 'configs' / 'demo', args.out, args.seed)


if __name__ == '__main__':
    main()
