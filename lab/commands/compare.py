"""Trains every arm of a plan from the same start on the same data, tests the fused models, and compares.

python -m lab compare PLAN --dry-run           # lists the runs
python -m lab compare PLAN --jobs 2            # runs the missing ones; continues after an interruption
python -m lab compare PLAN --only cells/refocused --seeds 0 1
"""

import warnings
from argparse import ArgumentParser, Namespace
from pathlib import Path

from refconv_mm.commands.arguments import positive

from ..compare.executor import run_missing
from ..compare.plan_file import read_plan
from ..compare.plan_runs import PlanRuns
from ..compare.report_files import write_report
from ..compare.run_list import list_runs


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('plan')
    parser.add_argument('--seeds', nargs='+', type=int, help="in place of the plan's")
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', help='tasks, arms or TASK/ARM')
    parser.add_argument('--steps', type=int, help='cut every training down to so many steps, for a trial')
    parser.add_argument('--jobs', type=positive, default=1, help='runs at the same time (default: %(default)s)')
    parser.add_argument('--threads', type=positive, default=1, help='threads of each (default: %(default)s)')
    parser.add_argument('--out-dir', help='the folder of all runs (default: work_dirs/compare/<plan>)')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--dry-run', action='store_true', help='only list the runs')
    mode.add_argument('--report', action='store_true', help='only report on the finished runs')


def run(args: Namespace) -> int:
    """Runs the missing runs and reports; returns 1 if a run failed."""
    warnings.filterwarnings('ignore')  # of old code upstream
    plan = read_plan(args.plan, args.seeds, args.steps)
    plan_runs = PlanRuns(plan, Path(args.out_dir or f'work_dirs/compare/{plan.path.stem}'), args.only)
    if args.dry_run:
        print(list_runs(plan_runs))
        return 0
    failures = [] if args.report else run_missing(plan_runs, args.jobs, args.threads)
    written = write_report(plan_runs, args.command_line)
    print(written[0].read_text() if written else 'no run of this plan is done: there is nothing to report')
    for path in written:
        print(f'wrote {path}')
    for failure in failures:
        print(f'failed: {failure.run}: {failure.reason} {failure.log or ""}')
    return int(bool(failures))
