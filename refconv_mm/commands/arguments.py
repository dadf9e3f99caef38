"""The command-line options that several commands have, each written once, and the config that they describe."""

from __future__ import annotations

import traceback
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction


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
    parser.add_argument(
        '--ema', action=BooleanOptionalAction, help='use the averaged weights (default: if the checkpoint has them)'
    )


def add_force(parser: ArgumentParser, what: str) -> None:
    """`--force`.

    Args:
        what: the files that it overwrites.
    """
    parser.add_argument('--force', action='store_true', help=f'overwrite {what}')


def positive(text: str) -> int:
    """The type of an option that counts something."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def add_shape(parser: ArgumentParser, help: str) -> None:
    """`--shape H W`; :func:`shape_of` reads it."""
    parser.add_argument('--shape', nargs=2, type=positive, metavar=('H', 'W'), help=f'{help} (default: test size)')


def shape_of(args: Namespace) -> tuple[int, int] | None:
    """Height and width from `--shape`, or None."""
    return tuple(args.shape) if args.shape else None


def open_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Reads a config and merges `--cfg-options` into it.

    Raises:
        FileNotFoundError: the config does not exist.
        ValueError: the file is not a config, or an option cannot be merged into it.
    """
    cfg = read_config(path, 'config')
    merge_options(cfg, options or {}, '--cfg-options')
    return cfg


def read_config(path: str | Path, what: str) -> Config:
    """Reads a file in mmengine's language.

    Args:
        what: the kind of file, for error messages.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not such a file; the message has the error of Python or mmengine.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no {what} at {path}')
    try:
        return Config.fromfile(path)
    except (Exception, SystemExit) as error:  # a config is code, which can end with any error
        place = next(
            (
                f', line {f.lineno}'
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if Path(f.filename).suffix == '.py' and f.name == '<module>' and f.filename == str(path)
            ),
            '',
        )
        raise ValueError(f'{path}{place} cannot be read as a {what}: {type(error).__name__}: {error}') from error


def merge_options(cfg: Config, options: Mapping[str, Any], where: str) -> None:
    """Merges options with dotted names into a config, in place.

    Args:
        where: the place that an error message names.

    Raises:
        ValueError: an option cannot be merged.
    """
    try:
        cfg.merge_from_dict(dict(options))
    except (TypeError, KeyError, AssertionError) as error:
        raise ValueError(f'{where}: {dict(options)} cannot be merged into the config: {error}') from error
