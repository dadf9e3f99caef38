"""What analyses take: kernels of checkpoints, checkpoints of a config with their task loss, or models of configs.

Each source adds its arguments and opens what they name. How it then calls the `measure` of an analysis:

    kernels   measure(sets, options) -> results
    task      measure(task, options, store, advance) -> what it found of the checkpoint that the task has loaded, and
              sum_up(records, options, task) -> results; also key(options), what kept parts depend on, and
              plan_work(task, options, stores), for each checkpoint the work left and a line about it
    models    measure(models, classes, options, say) -> results

Results are ready for JSON. Keys that begin with an underscore are for the figures alone and are not written.
"""

from __future__ import annotations

import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from refconv_mm.commands.arguments import add_config, add_trust, open_config, positive
from refconv_mm.console import progress_display
from .kernels import gather
from .made import find_config, make_model
from .options import Analysis
from .parts import PartStore
from .task_loss import MODES, SPLITS, TaskLoss, make_task_loss
from .weights import content_hash, names_of, read_weights

Results = dict[str, Any]


class Source(NamedTuple):
    """Adds the arguments of a source, and measures what the arguments name."""

    add_arguments: Callable[[ArgumentParser], None]
    measure: Callable[[Analysis, Any, Namespace, Path], Results]


def parts_file(analysis: Analysis, out_dir: Path) -> Path:
    """Where parts of a run are kept."""
    return out_dir / f'{analysis.name}_parts.jsonl'


def _add_checkpoints(parser: ArgumentParser) -> None:
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='BEFORE, then what to compare with it')
    add_trust(parser)


def _add_kernels(parser: ArgumentParser) -> None:
    _add_checkpoints(parser)
    parser.add_argument('--config', help='of the refocused ones')
    parser.add_argument(
        '--include', nargs='+', metavar='GLOB',
        help='layers by name (default: those that were refocused, if a config or checkpoint tells, else all)',
    )  # fmt: skip
    parser.add_argument('--exclude', nargs='+', default=[], metavar='GLOB')


def _measure_kernels(analysis: Analysis, options: Any, args: Namespace, out_dir: Path) -> Results:
    match = not getattr(options, 'unmatched', False)
    sets, about = gather(args.checkpoints, args.names, args.config, args.include, args.exclude, args.trust, match)
    return dict(analysis.module('measure').measure(sets, options), about=about)


def _add_task(parser: ArgumentParser) -> None:
    add_config(parser, 'of all checkpoints, plain or refocused')
    _add_checkpoints(parser)
    parser.add_argument('--batches', type=int, default=4, help='default: %(default)s')
    parser.add_argument('--batch-size', type=int, help="default: %(default)s (None: the config's)")
    parser.add_argument('--split', choices=SPLITS, default='train', help='default: %(default)s')
    parser.add_argument('--bn', choices=MODES, default='eval', help="running statistics, or the batch's (train mode)")
    parser.add_argument('--seed', type=int, default=0, help='of images, directions and vectors (default: %(default)s)')


def _measure_task(analysis: Analysis, options: Any, args: Namespace, out_dir: Path) -> Results:
    names = names_of(args.checkpoints, args.names)
    cfg = open_config(args.config, args.cfg_options)
    task = make_task_loss(cfg, args.batches, args.batch_size, args.split, args.seed, args.bn)
    return measure_checkpoints(analysis, options, cfg, args.checkpoints, names, task, out_dir, args.trust)


def measure_checkpoints(
    analysis: Analysis, options: Any, cfg: Config, paths: Sequence[str], names: Sequence[str], task: TaskLoss,
    out_dir: Path, trust: bool = False,
) -> Results:  # fmt: skip
    """Measures checkpoints one by one; results are kept in :func:`parts_file` and not measured again.

    Args:
        cfg: the config of the checkpoints, plain or refocused.
        paths: the first is what the others are compared with.
        task: made from `cfg`; every checkpoint is loaded into its model.

    Raises:
        FileNotFoundError, ValueError: a checkpoint can't be read or does not fit, or what the analysis refuses.
    """
    module, stores = analysis.module('measure'), list[PartStore]()
    for path in paths:  # all are tried before the first is measured
        _, state = read_weights(cfg, path, trust=trust)
        task.load(state, path)
        key = content_hash([*module.key(options), task.fingerprint, state])
        stores.append(PartStore(parts_file(analysis, out_dir), key))
    work, records = module.plan_work(task, options, stores), list[Results]()
    with progress_display(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        bar = progress.add_task(analysis.name, total=sum(left for left, _ in work))
        done = 0.0
        for path, name, store, (left, text) in zip(paths, names, stores, work, strict=True):
            progress.console.print(f'{name}: {text}', markup=False)
            progress.update(bar, description=name)
            record, state = read_weights(cfg, path, name, trust)
            task.load(state, path)
            del state  # the model holds the weights now
            found = module.measure(task, options, store, partial(progress.advance, bar))
            records.append(dict(record, key=store.key, **found))
            done += left
            progress.update(bar, completed=done)  # the work is an estimate
    return module.sum_up(records, options, task)


def _add_models(parser: ArgumentParser) -> None:
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='the first is what times are compared with')
    parser.add_argument('--threads', type=positive, help="threads to compute with (default: torch's)")


def _measure_models(analysis: Analysis, options: Any, args: Namespace, out_dir: Path) -> Results:
    warnings.filterwarnings('ignore')  # of old code upstream
    if args.threads:
        torch.set_num_threads(args.threads)
    names = names_of(args.configs, args.names, 'configs')
    made = [make_model(find_config(config, Path())) for config in args.configs]
    models = {name: model for name, (model, _) in zip(names, made, strict=True)}
    with Progress(SpinnerColumn(), TextColumn('{task.description}'), TimeElapsedColumn()) as progress:
        bar = progress.add_task('')
        classes = min(classes for _, classes in made)
        results = analysis.module('measure').measure(
            models, classes, options, lambda step: progress.update(bar, description=step)
        )
    for row, config in zip(results['models'], args.configs, strict=True):
        row['config'] = config
    return results


SOURCES = dict(
    kernels=Source(_add_kernels, _measure_kernels),
    task=Source(_add_task, _measure_task),
    models=Source(_add_models, _measure_models),
)
