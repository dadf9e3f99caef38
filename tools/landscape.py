"""The task loss around checkpoints, along the same filter-normalised random directions for all (Li et al. 2018).

python tools/landscape.py CONFIG plain.pth control.pth fused.pth --names before,control,refocused --out-dir DIR
-> landscape.md, landscape.json, landscape.png (lines), landscape_map.png (contours)

Real images of the config, the same for all; a refocused checkpoint is fused in memory. Points done are kept in
DIR/landscape_points.jsonl: an interrupted run goes on where it was, finer plans take over what is there.
"""

import argparse
import shlex
import sys
from pathlib import Path

import refconv_mm  # noqa: F401
from refconv_mm.analysis.landscape import Plan
from refconv_mm.analysis.landscape_report import POINTS, run
from refconv_mm.analysis.options import add_task_options, open_task


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_task_options(parser, batches=4)
    parser.add_argument('--directions', type=int, default=5, metavar='K', help='lines (default: %(default)s)')
    parser.add_argument('--points', type=int, default=11, help='of a line, odd (default: %(default)s)')
    parser.add_argument(
        '--span',
        type=float,
        default=1.0,
        help='in norms of each filter; 0.1 shows more of a steep net (default: %(default)s)',
    )
    parser.add_argument('--grid', type=int, default=15, help="the map's side, odd; 0: no map (default: %(default)s)")
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/landscape.py', *sys.argv[1:]])
    out_dir = Path(args.out_dir)
    try:
        plan = Plan(args.directions, args.points, args.span, args.grid, args.seed)
        cfg, names, task = open_task(args)
        written = run(cfg, args.checkpoints, names, task, plan, out_dir, command, args.force, args.trust)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(
            130, f'\nstopped; what is done is kept in {out_dir / POINTS}: the same command goes on from there\n'
        )
    print(written[0].read_text().split('## Rise')[0])
    for path in written:
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
