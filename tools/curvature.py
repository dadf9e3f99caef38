"""Curvature of the task loss at checkpoints: Hessian eigenvalues, trace and density, and sharpness within a radius.

python tools/curvature.py CONFIG plain.pth control.pth fused.pth --names before,control,refocused --out-dir DIR
-> curvature.md, curvature.json, curvature.png

Real images of the config, the same for all; a refocused checkpoint is fused in memory. Each figure is raw and relative
to the weights, which rescaling can't fake, and has a standard error. Checkpoints done are kept in DIR/curvature_parts.
A product with the Hessian takes as long as four gradients; fewer --batches, --probes, --lanczos take less.
"""

import argparse
import shlex
import sys
from pathlib import Path

import refconv_mm  # noqa: F401
from refconv_mm.analysis.curvature_run import PARTS, Settings, run
from refconv_mm.analysis.options import add_task_options, open_task


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_task_options(parser, batches=8, batch_size=2)
    for name, what in dict(
        eigenvalues='how many of the largest', probes='vectors for the trace', lanczos='steps for the density',
        starts='of those, for its error', ascent='steps to the worst point in a radius',
    ).items():  # fmt: skip
        default = getattr(Settings, name)
        parser.add_argument(f'--{name}', type=int, default=default, help=f'{what} (default: {default})')
    parser.add_argument('--radii', nargs='+', type=float, default=Settings.radii, help='default: %(default)s')
    parser.add_argument('--params', nargs='+', default=['*'], metavar='GLOB', help='parameters by name (default: all)')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    command = shlex.join(['python', 'tools/curvature.py', *sys.argv[1:]])
    counts = args.eigenvalues, args.probes, args.lanczos, args.starts
    out = Path(args.out_dir)
    try:
        settings = Settings(*counts, tuple(args.radii), args.ascent, tuple(args.params), args.seed)
        cfg, names, task = open_task(args)
        written = run(cfg, args.checkpoints, names, task, settings, out, command, args.force, args.trust)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(
            130, f'\nstopped; checkpoints done are kept in {out / PARTS}: the same command goes on from there\n'
        )
    print(written[0].read_text().split('## Largest')[0])
    for path in written:
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
