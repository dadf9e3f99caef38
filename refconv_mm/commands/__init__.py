"""The command `refconv`: one module for each of its commands, imported when the command is chosen.

A module of a command has `add_arguments(parser)` and `run(args)`, which returns the exit code (None for 0); it may
have `interrupted(args)`, which returns the line that is printed after Ctrl-C. The files in tools/ run the same modules.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import NoReturn
from urllib.error import URLError

from ..files import errors
from ..files.unpickling import unpickling_problem
from ..openmmlab import prepare
from ..version import __version__

COMMANDS = {
    'new': 'write configs for a folder of data',
    'train': 'train a config, refocused or plain',
    'test': 'test a refocused, fused or plain checkpoint',
    'predict': 'draw and list predictions for images',
    'fuse': 'write a refocused checkpoint as a plain one',
    'export': 'write a checkpoint as an ONNX model',
    'check-data': 'list the faults in the data sets of a config',
}
PACKAGE = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs `refconv COMMAND ...` and exits; without a command it prints its help."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        run_tool(words[0], None, f'refconv {words[0]}', words[1:])
    described = '\n'.join(f'  {name:<12}{text}' for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog='refconv', formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f'RefConv for OpenMMLab.\n\ncommands (refconv COMMAND --help explains one):\n{described}',
    )  # fmt: skip
    parser.add_argument('--version', action='version', version=f'refconv_mm {__version__}')
    parser.add_argument('command', metavar='COMMAND', choices=COMMANDS)
    parser.parse_args(words or ['--help'])
    parser.error('the options of a command stand behind it')


def run_tool(
    command: str | ModuleType, description: str | None, prog: str | None = None, argv: Sequence[str] | None = None
) -> NoReturn:
    """Runs a command and exits.

    Args:
        command: its name, or a module like those of the commands.
        description: the text that `--help` prints first; by default the module's.
        prog: the words before the arguments; by default those of the file that runs.
    """
    parser = argparse.ArgumentParser(prog=prog, formatter_class=argparse.RawDescriptionHelpFormatter)
    try:
        if isinstance(command, str):
            command = importlib.import_module(f'.{command.replace("-", "_")}', __name__)
        module = command
        parser.description = description or module.__doc__
        module.add_arguments(parser)
        words = sys.argv[1:] if argv is None else argv
        args = parser.parse_args(words)
        args.command_line = shlex.join([*(prog or f'python tools/{Path(sys.argv[0]).name}').split(), *words])
        run_and_exit(module, args, parser.prog)
    except KeyboardInterrupt:  # while a command is imported, and while it ends
        print(f'{parser.prog}: interrupted', file=sys.stderr)
        sys.exit(130)


def run_and_exit(module: ModuleType, args: argparse.Namespace, prog: str) -> NoReturn:
    """Runs a command and exits: with the code of `run`, with 2 after a wrong input, with 130 after Ctrl-C."""
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)  # of mmengine
    prepare()
    try:
        sys.exit(module.run(args) or 0)
    except (Exception, KeyboardInterrupt) as error:
        # torch.save raises another error after Ctrl-C; TorchScript, which second derivatives use, makes it its own.
        chain = list(errors.chain(error))
        if any(isinstance(one, KeyboardInterrupt) or 'RuntimeError: KeyboardInterrupt:' in str(one) for one in chain):
            message, code = module.interrupted(args) if hasattr(module, 'interrupted') else 'interrupted', 130
        elif (text := message_for_users(error)) is not None:
            message, code = f'error: {text}', 2
        else:
            raise
    print(f'{prog}: {message}', file=sys.stderr)
    sys.exit(code)


def message_for_users(error: BaseException) -> str | None:
    """The message of an error of this package or of the system; None for others, whose traceback helps to find them."""
    if isinstance(error, errors.DataError):  # with the traceback of a DataLoader's worker as its text
        return str(error).rpartition('DataError: ')[2].strip()
    if isinstance(error, UnpicklingError):
        return f'a checkpoint {unpickling_problem(error)}'
    if isinstance(error, URLError):
        return f'a checkpoint cannot be fetched from its address ({error.reason}); --init FILE starts from a local one'
    if isinstance(error, OSError):
        return f'{error.filename}: {error.strerror}' if error.filename and error.strerror else str(error)
    return str(error) if any(map(is_ours, errors.chain(error))) else None


def is_ours(error: BaseException) -> bool:
    """Whether a statement of the package raised an error."""
    frames = traceback.extract_tb(error.__traceback__)[-1:]  # the innermost
    raised = any(PACKAGE in Path(f.filename).resolve().parents and (f.line or '').startswith('raise ') for f in frames)
    return raised or type(error).__module__ == errors.__name__
