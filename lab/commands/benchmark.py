"""Measures the costs of refocusing: the plain model and the forms in turn, in one process.

python -m lab benchmark                                           # the whole suite, about an hour on two cores
python -m lab benchmark --only mobilenet_v2 --seconds 10          # one model
python -m lab benchmark --device cuda                             # the cases for a GPU
python -m lab benchmark my_suite.py                               # your own models, like lab/configs/benchmark
"""

import argparse
import warnings
from pathlib import Path

import torch

from refconv_mm.commands.arguments import open_config, positive

from ..benchmark.suite import run_suite

SUITES = Path(__file__).parents[1] / 'configs' / 'benchmark'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('suite', nargs='?', help='cases (default: those of lab/configs/benchmark)')
    parser.add_argument('--device', choices=['cuda'], help='the cases for a GPU, which must be there')
    parser.add_argument('--only', nargs='+', default=[], metavar='MODEL', help='names in the suite')
    parser.add_argument('--seconds', type=float, default=30, help='timed part of one case (default: %(default)s)')
    parser.add_argument('--threads', type=positive, help="threads to compute with (default: torch's)")
    parser.add_argument('--out-dir', default='work_dirs/benchmark')


def run(args: argparse.Namespace) -> None:
    """Measures and reports."""
    warnings.filterwarnings('ignore')  # of old code upstream, hundreds of them
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device and not torch.cuda.is_available():
        raise ValueError(f'--device {args.device}: torch sees no GPU here')
    suite = open_config(args.suite or SUITES / ('gpu.py' if args.device else 'suite.py'))
    written = run_suite(suite, Path(args.out_dir), args.command_line, args.only, args.seconds)
    print(written[0].read_text())
    for path in written:
        print(f'wrote {path}')
