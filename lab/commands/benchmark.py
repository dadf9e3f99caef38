"""Measures what refocusing costs: the plain model and the forms in turn, in one process.

python -m lab benchmark                                           # the whole suite, about an hour on two cores
python -m lab benchmark --only mobilenet_v2 --seconds 10          # one model
python -m lab benchmark my_suite.py --parts cases                 # your own models, as in lab/configs/benchmark/suite.py
"""

import argparse
import os
import warnings
from pathlib import Path

os.environ.setdefault('KINETO_LOG_LEVEL', '6')  # nothing; torch's profiler reads it once, and talks much

import torch

from ..benchmark.suite import PARTS, run_suite
from refconv_mm.commands.arguments import open_config, positive

SUITE = Path(__file__).parents[1] / 'configs' / 'benchmark' / 'suite.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('suite', nargs='?', default=str(SUITE))
    parser.add_argument('--only', nargs='+', default=[], metavar='MODEL', help='names in the suite')
    parser.add_argument('--parts', nargs='+', default=PARTS, choices=PARTS)
    parser.add_argument('--seconds', type=float, default=30, help='timed part of one case (default: %(default)s)')
    parser.add_argument('--threads', type=positive, help="threads to compute with (default: torch's)")
    parser.add_argument('--out-dir', default='work_dirs/benchmark')


def run(args: argparse.Namespace) -> None:
    warnings.filterwarnings('ignore')  # of the exporters and of old code upstream, hundreds of them
    if args.threads:
        torch.set_num_threads(args.threads)
    suite, out_dir = open_config(args.suite), Path(args.out_dir)
    written = run_suite(suite, out_dir, args.command_line, args.only, args.parts, args.seconds)
    print((out_dir / 'report.md').read_text())
    for path in written:
        print(f'wrote {path}')

