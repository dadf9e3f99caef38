"""Runs an analysis: its arguments, the files that it may overwrite, its measure, and the files that it leaves."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refconv_mm.commands.arguments import add_config, add_force, add_trust, open_config, positive
from refconv_mm.files.writing import check_free, write_json, write_text

# By name: the title, and whether it takes kernels of checkpoints, or checkpoints of a config with their task loss.
ANALYSES = dict(
    redundancy=('Redundancy of channels', 'kernels'),
    skeleton=('Skeleton of kernels', 'kernels'),
    theory=('The Gram matrix of the basis, and the update', 'kernels'),
    landscape=('Loss along random directions', 'loss'),
    curvature=('Curvature of the task loss', 'loss'),
)


def add_analyses(parser: ArgumentParser) -> None:
    """Adds a sub-command for each analysis."""
    commands = parser.add_subparsers(metavar='ANALYSIS', required=True)
    for name, (title, source) in ANALYSES.items():
        one = commands.add_parser(name, help=title, description=title)
        one.set_defaults(analysis=name)
        if source == 'loss':
            add_config(one, 'of all checkpoints, plain or refocused')
        one.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='BEFORE, then those to compare with it')
        one.add_argument('--names', help="separated by commas (default: the files' names)")
        one.add_argument('--out-dir', required=True)
        add_trust(one)
        add_force(one, 'files of an earlier run')
        _add_kernels(one, name) if source == 'kernels' else _add_loss(one, name)


def _add_kernels(parser: ArgumentParser, name: str) -> None:
    parser.add_argument('--include', nargs='+', metavar='GLOB', help='layers (default: the refocused ones, else all)')
    if name == 'theory':
        parser.add_argument('--map-k', type=positive, default=3, help='side of the map (default: 3)')


def _add_loss(parser: ArgumentParser, name: str) -> None:
    parser.add_argument('--batches', type=int, default=4, help='of training images (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, help="default: the config's")
    parser.add_argument('--seed', type=int, default=0, help='of images, directions and vectors (default: %(default)s)')
    if name == 'landscape':
        parser.add_argument('--directions', type=int, default=5, help='default: %(default)s')
        parser.add_argument('--points', type=int, default=11, help='of a line, odd (default: %(default)s)')
        parser.add_argument('--span', type=float, default=0.1, help='of a line, in norms of filters (%(default)s)')
    else:
        parser.add_argument('--eigenvalues', type=int, default=1, help='the largest (default: %(default)s)')
        parser.add_argument('--probes', type=int, default=4, help='vectors of the trace (default: %(default)s)')


def run(args: Namespace, command: str) -> list[Path]:
    """Runs the analysis that the arguments of :func:`add_analyses` name, and prints its report.

    Args:
        command: named in the report.

    Returns:
        The files written.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: a bad argument, or an input that the analysis refuses.
    """
    name, out_dir = args.analysis, Path(args.out_dir)
    check_free(out_dir, [f'{name}.md', f'{name}.json', f'{name}.png'], args.force)
    results = _measure_kernels(args) if ANALYSES[name][1] == 'kernels' else _measure_loss(args)
    written, text = write(name, results, out_dir, command)
    print(text)
    for path in written:
        print(f'wrote {path}')
    return written


def _measure_kernels(args: Namespace) -> dict[str, Any]:
    from . import redundancy, skeleton, theory
    from .kernels import gather

    sets, about = gather(args.checkpoints, args.names, args.include, args.trust)
    if args.analysis == 'theory':
        results = theory.measure(sets, args.map_k)
    else:
        results = (redundancy if args.analysis == 'redundancy' else skeleton).measure(sets)
    return dict(results, about=about)


def _measure_loss(args: Namespace) -> dict[str, Any]:
    from . import loss_surface
    from .kernels import names_of
    from .task_loss import make_task_loss

    names, cfg = names_of(args.checkpoints, args.names), open_config(args.config, args.cfg_options)
    task, nets = make_task_loss(cfg, args.batches, args.batch_size, args.seed), list[dict[str, Any]]()
    for path, name in zip(args.checkpoints, names, strict=True):
        record = task.load(cfg, path, name, args.trust)
        if args.analysis == 'landscape':
            found = loss_surface.measure_lines(task, args.directions, args.points, args.span, args.seed)
        else:
            found = loss_surface.measure_curvature(task, args.eigenvalues, args.probes, args.seed)
        nets.append({**record, **found})
        print(f'{name}: done', flush=True)
    compare = loss_surface.rise_differences if args.analysis == 'landscape' else loss_surface.curvature_ratios
    return dict(checkpoints=nets, batches=task.description, compared=compare(nets))


def write(name: str, results: Mapping[str, Any], out_dir: Path, command: str) -> tuple[list[Path], str]:
    """Writes the report, the JSON and the figure of an analysis, each whole or not at all.

    Returns:
        The files written, and the report.
    """
    from . import figures, report

    sections = getattr(report, name)(results)
    head = [f'# {ANALYSES[name][0]}', f'`{command}`']
    head.append('\n'.join(f'- {each["name"]}: {each["path"]}, {each["content"]}' for each in results['checkpoints']))
    head += [results['about']] if 'about' in results else []
    out_dir.mkdir(parents=True, exist_ok=True)
    text = '\n\n'.join([*head, *sections]) + '\n'
    write_text(out_dir / f'{name}.md', text)
    write_json(out_dir / f'{name}.json', finite(dict(command=command, **results)))
    written = [out_dir / f'{name}.md', out_dir / f'{name}.json']
    if hasattr(figures, name) and (name != 'theory' or results['mean']):
        written.append(figures.save(getattr(figures, name)(results), out_dir / f'{name}.png'))
    return written, text


def finite(value: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
