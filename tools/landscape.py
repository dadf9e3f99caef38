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

from mmengine.config import Config, DictAction

import refconv_mm  # noqa: F401
from refconv_mm.analysis.landscape import Plan
from refconv_mm.analysis.landscape_report import POINTS, run
from refconv_mm.analysis.task_loss import MODES, SPLITS, make_task_loss
from refconv_mm.analysis.weights import names_of


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='of all checkpoints, plain or refocused')
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='BEFORE, then what to compare with it')
    parser.add_argument('--names', help="separated by commas (default: the files' names)")
    parser.add_argument('--out-dir', required=True)
    parser.add_argument('--batches', type=int, default=4, help='default: %(default)s')
    parser.add_argument('--batch-size', type=int, help="default: the config's")
    parser.add_argument('--split', choices=SPLITS, default='train', help='default: %(default)s')
    parser.add_argument('--directions', type=int, default=5, metavar='K', help='lines (default: %(default)s)')
    parser.add_argument('--points', type=int, default=11, help='of a line, odd (default: %(default)s)')
    parser.add_argument('--span', type=float, default=1.0, help='in norms of each filter (default: %(default)s)')
    parser.add_argument('--grid', type=int, default=15, help="the map's side, odd; 0: no map (default: %(default)s)")
    parser.add_argument('--bn', choices=MODES, default='eval', help="running statistics, or the batch's (train mode)")
    parser.add_argument('--seed', type=int, default=0, help='of images and directions (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ... merged into the config')
    parser.add_argument('--force', action='store_true', help='overwrite files of an earlier run')
    parser.add_argument('--trust', action='store_true', help='load checkpoints even if they would run code')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/landscape.py', *sys.argv[1:]])
    out_dir = Path(args.out_dir)
    try:
        names = names_of(args.checkpoints, args.names)
        plan = Plan(args.directions, args.points, args.span, args.grid, args.seed)
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        task = make_task_loss(cfg, args.batches, args.batch_size, args.split, args.seed, args.bn)
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
