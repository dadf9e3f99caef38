"""Puts all analyses of a set of checkpoints into one HTML page that needs nothing else.

python tools/analyse.py redundancy plain.pth control.pth fused.pth --out-dir work_dirs/inside   # or any other analysis
python tools/report.py work_dirs/inside --out inside.html

Several directories, one for each net (a detector, a segmenter), become parts of one page. What is missing in one is
left out and named on the page.
"""

import argparse
from pathlib import Path

import refconv_mm  # noqa: F401
from refconv_mm.analysis.page import write_page


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dirs', nargs='+', metavar='DIR', help='an --out-dir of tools/analyse.py')
    parser.add_argument('--out', required=True, metavar='FILE.html')
    parser.add_argument('--title', help="(default: from the directories' names)")
    parser.add_argument('--force', action='store_true', help='overwrite an earlier page')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    try:
        path = write_page([Path(folder) for folder in args.dirs], Path(args.out), args.title, args.force)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    print(f'wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)')


if __name__ == '__main__':
    main()
