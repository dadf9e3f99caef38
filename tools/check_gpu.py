"""Checks refocusing on a GPU, and prints a report to paste into an issue. The exit code is 1 if a check failed.

python tools/check_gpu.py
python tools/check_gpu.py --device cpu    # a trial of this command
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from rich.progress import track

from refconv_mm.commands import run_tool
from refconv_mm.console import print_markdown, table
from refconv_mm.gpu_check import checks, environment

CONFIGS = Path(__file__).parents[1] / 'configs'
DEMO = CONFIGS / 'demo/ssdlite_mobilenetv2_refconv_demo.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--only', nargs='*', metavar='TEXT', help='checks whose names contain one of these')


def run(args: argparse.Namespace) -> int:
    warnings.simplefilter('ignore')  # of old code upstream
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise ValueError('torch sees no GPU here; --device cpu tries this command on the CPU')
    configs = sorted(path for path in CONFIGS.glob('*/*_refconv*.py') if path.parent.name not in ('_base_', 'own'))
    chosen = [
        check for check in checks(configs, DEMO, device)
        if not args.only or any(text in check.name for text in args.only)
    ]  # fmt: skip
    for check in track(chosen, description='checks'):
        check()
    print_markdown(table(['machine', ''], environment(device)))
    print_markdown('\n' + table(['check', 'result', ''], [(c.name, c.state, c.text) for c in chosen]))
    return int(any(check.state == 'failed' for check in chosen))


if __name__ == '__main__':
    run_tool(sys.modules[__name__], __doc__)
