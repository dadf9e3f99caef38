"""The arguments that training and testing share, and the config that they describe."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentParser, Namespace

from mmengine.config import Config

from ..files.reading import make_mmengine_read_safely
from ..running.config_checks import check_types
from ..running.settings import set_launcher, set_work_dir
from .arguments import add_trust, merge_options, open_config


def add_run_arguments(parser: ArgumentParser) -> None:
    """`--work-dir`, `--launcher`, `--trust` and the `--local_rank` of older launchers."""
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config>)')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    add_trust(parser)
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=SUPPRESS)


def is_first_process(args: Namespace) -> bool:
    """Whether this is the first process of a run, before mmengine knows it: each launcher sets a variable."""
    ranks = (os.environ.get(name) for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'))
    return args.launcher == 'none' or next(filter(None, ranks), '0') == '0'


def open_run_config(args: Namespace) -> Config:
    """The config of a run, its types checked; `--cfg-options` override the settings of the launcher."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = open_config(args.config)
    set_launcher(cfg, args.launcher)
    merge_options(cfg, args.cfg_options or {}, '--cfg-options')
    check_types(cfg)
    set_work_dir(cfg, args.work_dir, args.config)
    make_mmengine_read_safely(args.trust)
    return cfg
