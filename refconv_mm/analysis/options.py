"""The options that the tools of this package share, and what they open."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mmengine.config import Config, DictAction

from .kernels import KernelSet, gather
from .task_loss import MODES, SPLITS, TaskLoss, make_task_loss
from .weights import names_of


def add_checkpoint_options(parser: ArgumentParser) -> None:
    """What every tool that compares checkpoints takes."""
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='BEFORE, then what to compare with it')
    parser.add_argument('--names', help="separated by commas (default: the files' names)")
    parser.add_argument('--out-dir', required=True)
    parser.add_argument('--force', action='store_true', help='overwrite files of an earlier run')
    parser.add_argument('--trust', action='store_true', help='load checkpoints even if they would run code')


def add_kernel_options(parser: ArgumentParser) -> None:
    """Those, and which kernels; for :func:`open_kernels`."""
    add_checkpoint_options(parser)
    parser.add_argument('--config', help='of the refocused ones')
    parser.add_argument('--include', nargs='+', default=['*'], metavar='GLOB', help='layers by name')
    parser.add_argument('--exclude', nargs='+', default=[], metavar='GLOB')


def open_kernels(args: Namespace, match: bool = True) -> list[KernelSet]:
    """The kernels that the options describe; see :func:`refconv_mm.analysis.kernels.gather`."""
    return gather(args.checkpoints, args.names, args.config, args.include, args.exclude, args.trust, match)


def add_task_options(parser: ArgumentParser, batches: int, batch_size: int | None = None) -> None:
    """The checkpoints of a config, and the images on which their loss is measured; for :func:`open_task`.

    Args:
        batches, batch_size: defaults; None for the config's.
    """
    parser.add_argument('config', help='of all checkpoints, plain or refocused')
    add_checkpoint_options(parser)
    size = 'default: %(default)s' if batch_size else "default: the config's"
    parser.add_argument('--batches', type=int, default=batches, help='default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=batch_size, help=size)
    parser.add_argument('--split', choices=SPLITS, default='train', help='default: %(default)s')
    parser.add_argument('--bn', choices=MODES, default='eval', help="running statistics, or the batch's (train mode)")
    parser.add_argument('--seed', type=int, default=0, help='of images, directions and vectors (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ... merged into the config')


def open_task(args: Namespace) -> tuple[Config, list[str], TaskLoss]:
    """The config, the names of the checkpoints, and the loss.

    Raises:
        FileNotFoundError, ValueError: see :func:`names_of` and :func:`make_task_loss`.
    """
    names = names_of(args.checkpoints, args.names)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    return cfg, names, make_task_loss(cfg, args.batches, args.batch_size, args.split, args.seed, args.bn)
