"""Trains every arm of a plan from the same start on the same data, tests the fused models, and compares.

python tools/compare.py configs/compare/cells.py --dry-run           # what would run
python tools/compare.py configs/compare/cells.py --jobs 2            # runs what is missing; again after an interruption
python tools/compare.py configs/compare/cells.py --only cells/refocused --seeds 0 1
"""

import argparse
import shlex
import sys
import warnings
from pathlib import Path

import refconv_mm  # noqa: F401
from refconv_mm.compare.book import Book
from refconv_mm.compare.plan_file import read_plan
from refconv_mm.compare.show import execute, listing, write_report


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('plan')
    parser.add_argument('--seeds', nargs='+', type=int, help="in place of the plan's")
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', help='tasks, arms or TASK/ARM')
    parser.add_argument('--steps', type=int, help='cut every training down to so many steps, for a trial')
    parser.add_argument('--no-tune', action='store_true', help='leave the tuning out, for a trial')
    parser.add_argument('--jobs', type=int, default=1, help='runs at the same time (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='threads of each (default: %(default)s)')
    parser.add_argument('--out-dir', help='where everything goes (default: work_dirs/compare/<plan>)')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--dry-run', action='store_true', help='only list what would run')
    mode.add_argument('--report', action='store_true', help='only report on what is done')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    warnings.filterwarnings('ignore')  # of old code upstream
    command = shlex.join(['python', 'tools/compare.py', *sys.argv[1:]])
    failures = []
    try:
        plan = read_plan(args.plan, args.seeds, args.steps, not args.no_tune)
        book = Book(plan, Path(args.out_dir or f'work_dirs/compare/{plan.path.stem}'), args.only)
        if args.dry_run:
            return print(listing(book, args.jobs))
        if not args.report:
            failures = execute(book, args.jobs, args.threads)
        written = write_report(book, command)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, 'interrupted; the same command goes on from here\n')
    if written:
        print(written[0].read_text())
    for path in written:
        print(f'wrote {path}')
    for failure in failures:
        print(f'failed: {failure.run}: {failure.reason} {failure.log or ""}')
    sys.exit(bool(failures))


if __name__ == '__main__':
    main()
