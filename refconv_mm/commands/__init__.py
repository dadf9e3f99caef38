"""The command `refconv`: one module for each of its commands, imported when the command is chosen.

A module of a command has `add_arguments(parser)` and `run(args)`, which returns the exit code (None for 0); it may
have `interrupted(args)`, which returns the line that is printed after Ctrl-C. The files in tools/ run the same modules.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from ..files.errors import chain
from ..openmmlab import prepare
from ..version import __version__
from .explain import explain

# name: (module in this package, what the command does)
COMMANDS = {
    'new': ('new', 'write configs for a folder of data'),
    'train': ('train', 'train a config, refocused or plain'),
    'test': ('test', 'test a refocused, fused or plain checkpoint, or an ONNX model'),
    'predict': ('predict', 'draw and list predictions for images'),
    'fuse': ('fuse', 'write a refocused checkpoint as a plain one'),
    'export': ('export', 'write a checkpoint as an ONNX model'),
    'check-data': ('check_data', 'list the faults in the data sets of a config'),
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs `refconv COMMAND ...` and exits.

    Args:
        argv: the words after `refconv`; by default those of the command line.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in words if not word.startswith('-')), None)
    parser = argparse.ArgumentParser(prog='refconv', description='RefConv for OpenMMLab.')
    parser.add_argument('--version', action='version', version=f'refconv_mm {__version__}')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    module = None
    with quiet_interrupt(parser.prog):
        for name, (_, text) in COMMANDS.items():
            if name == chosen:
                module = command_module(name)
                add_command(subparsers.add_parser(name, help=text), module, module.__doc__)
            else:
                subparsers.add_parser(name, help=text, add_help=False)
        args = parser.parse_args(words)
        assert module is not None
        args.command_line = shlex.join(['refconv', *words])
        run_and_exit(module, args, f'refconv {args.command}')


def run_tool(command: str | ModuleType, description: str | None, prog: str | None = None) -> NoReturn:
    """Runs a command from a file in tools/ and exits.

    Args:
        command: its name, or a module like those of the commands.
        description: the text that `--help` prints first.
        prog: the words before the arguments; by default those of the file.
    """
    parser = argparse.ArgumentParser(prog=prog)
    with quiet_interrupt(parser.prog):
        module = command_module(command) if isinstance(command, str) else command
        add_command(parser, module, description)
        args = parser.parse_args()
        words = prog.split() if prog else ['python', f'tools/{Path(sys.argv[0]).name}']
        args.command_line = shlex.join([*words, *sys.argv[1:]])
        run_and_exit(module, args, parser.prog)


@contextmanager
def quiet_interrupt(prog: str) -> Iterator[None]:
    """Ends the process with one line after Ctrl-C: while a command is imported, and while it ends."""
    try:
        yield
    except KeyboardInterrupt:
        print(f'{prog}: interrupted', file=sys.stderr)
        sys.exit(130)


def command_module(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f'.{COMMANDS[name][0]}', __name__)


def add_command(parser: argparse.ArgumentParser, module: ModuleType, description: str | None) -> None:
    """Gives a parser the description and the arguments of a command."""
    parser.description, parser.formatter_class = description, argparse.RawDescriptionHelpFormatter
    module.add_arguments(parser)


def is_interrupt(error: BaseException) -> bool:
    """Whether an error is Ctrl-C; TorchScript, which second derivatives use, makes it a RuntimeError."""
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, RuntimeError) and 'RuntimeError: KeyboardInterrupt:' in str(error)
    )


def run_and_exit(module: ModuleType, args: argparse.Namespace, prog: str) -> NoReturn:
    """Runs a command and exits with its code.

    The code is that of `run`: 1 where it found problems. It is 2 where the arguments or the input are wrong: the
    error's message is printed without a traceback. It is 130 after Ctrl-C.
    """
    run: Callable[[argparse.Namespace], int | None] = module.run
    # mmengine imports it; its users can do nothing about it.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)
    prepare()
    try:
        sys.exit(run(args) or 0)
    except (Exception, KeyboardInterrupt) as error:
        if any(map(is_interrupt, chain(error))):  # torch.save raises another error after it
            message, code = module.interrupted(args) if hasattr(module, 'interrupted') else 'interrupted', 130
        elif (text := explain(error)) is not None:
            message, code = f'error: {text}', 2
        else:
            raise
    print(f'{prog}: {message}', file=sys.stderr)
    sys.exit(code)
