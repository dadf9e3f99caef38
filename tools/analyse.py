"""Measures what is inside checkpoints or models: a sub-command for each analysis; see `analyse.py NAME --help`.

python tools/analyse.py redundancy plain.pth control.pth fused.pth --names before,control,refocused --out-dir inside
python tools/analyse.py skeleton plain.pth control.pth fused.pth --names before,control,refocused --out-dir inside
python tools/analyse.py theory plain.pth control.pth refocused.pth --config CONFIG --out-dir inside
python tools/analyse.py landscape CONFIG plain.pth control.pth fused.pth --out-dir inside
python tools/analyse.py curvature CONFIG plain.pth control.pth fused.pth --out-dir inside
python tools/analyse.py cost CONFIG OTHER_CONFIG --out-dir inside
python tools/report.py inside --out inside.html        # all of it on one page
"""

import argparse
import shlex
import sys

import refconv_mm  # noqa: F401
from refconv_mm.analysis.driver import add_analyses, run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_analyses(parser)
    return parser.parse_args()


def main() -> None:
    run(parse_args(), shlex.join(['python', 'tools/analyse.py', *sys.argv[1:]]))


if __name__ == '__main__':
    main()
