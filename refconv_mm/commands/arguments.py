"""The command-line options that several commands have, each written once, and the config that they describe."""

from __future__ import annotations

import os
import traceback
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from ..files.reading import make_mmengine_read_safely
from ..running.config_checks import check_keys, check_types
from ..running.settings import set_launcher


def add_config(parser: ArgumentParser, help: str | None = None) -> None:
    """`CONFIG` and `--cfg-options`; :func:`open_config` reads both."""
    parser.add_argument('config', help=help)
    parser.add_argument('--cfg-options', nargs='+', action=_Options, help='KEY=VALUE ... merged into the config')


class _Options(DictAction):
    """mmengine's DictAction, whose errors end like those of other wrong arguments."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except Exception as error:
            parser.error(f'{option_string}: {" ".join(map(str, values))!r} is not a list of KEY=VALUE ({error})')


def add_trust(parser: ArgumentParser) -> None:
    """`--trust`."""
    parser.add_argument('--trust', action='store_true', help='load the checkpoint even if it would run code')


def add_ema(parser: ArgumentParser) -> None:
    """`--ema` and `--no-ema`; None if neither is given."""
    text = 'use the averaged weights (default: if the checkpoint has them)'
    parser.add_argument('--ema', action=BooleanOptionalAction, help=text)


def add_force(parser: ArgumentParser, files: str) -> None:
    """`--force`, which overwrites files."""
    parser.add_argument('--force', action='store_true', help=f'overwrite {files}')


def positive(text: str) -> int:
    """The type of an option that counts something."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def add_shape(parser: ArgumentParser, help: str) -> None:
    """`--shape H W`."""
    parser.add_argument('--shape', nargs=2, type=positive, metavar=('H', 'W'), help=f'{help} (default: test size)')


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
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    make_mmengine_read_safely(args.trust)
    return cfg


def open_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Reads a config and merges `--cfg-options` into it, as the two functions below do."""
    cfg = read_config(path, 'config')
    merge_options(cfg, options or {}, '--cfg-options')
    return cfg


def read_config(path: str | Path, kind: str) -> Config:
    """Reads a file in mmengine's language; `kind` says in messages which.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not such a file; the message has the error of Python or mmengine.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no {kind} at {path}')
    try:
        return Config.fromfile(path)
    except (Exception, SystemExit) as error:  # a config is code, which can end with any error
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f', line {f.lineno}' for f in reversed(frames) if f.filename == str(path)), '')
        raise ValueError(f'{path}{line} cannot be read as a {kind}: {type(error).__name__}: {error}') from error


def merge_options(cfg: Config, options: Mapping[str, Any], where: str) -> None:
    """Merges options with dotted names into a config, in place; `where` names their place in messages.

    Raises:
        ValueError: an option cannot be merged, or the config has no such key.
    """
    check_keys(cfg, options, where)
    try:
        cfg.merge_from_dict(dict(options))
    except (TypeError, KeyError, AssertionError) as error:
        raise ValueError(f'{where}: {dict(options)} cannot be merged into the config: {error}') from error
