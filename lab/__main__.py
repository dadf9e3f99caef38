"""The laboratory's commands: python -m lab compare | analyse | benchmark ..."""

import importlib
import shlex
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter

from refconv_mm.openmmlab import prepare

COMMANDS = ('compare', 'analyse', 'benchmark')


def main(words: list[str]) -> int:
    """Runs a command; 2 where the arguments or the input are wrong, 130 after Ctrl-C."""
    if not words or words[0] not in COMMANDS:
        print(f'usage: python -m lab {"|".join(COMMANDS)} ...', file=sys.stderr)
        return 2
    module = importlib.import_module(f'lab.commands.{words[0]}')
    parser = ArgumentParser(
        prog=f'python -m lab {words[0]}', description=module.__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    args = parser.parse_args(words[1:])
    args.command_line = shlex.join(['python', '-m', 'lab', *words])
    prepare()
    try:
        return module.run(args) or 0
    except KeyboardInterrupt:
        print('interrupted; the same command goes on from here', file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f'{parser.prog}: error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
