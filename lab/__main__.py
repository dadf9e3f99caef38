"""The laboratory's commands: python -m lab compare | analyse | benchmark | sweep ..."""

import importlib
import sys

from refconv_mm.commands import run_tool

COMMANDS = ('compare', 'analyse', 'benchmark', 'sweep')

if __name__ == '__main__':
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f'usage: python -m lab {"|".join(COMMANDS)} ...')
    name = sys.argv.pop(1)
    module = importlib.import_module(f'lab.commands.{name}')
    run_tool(module, module.__doc__, f'python -m lab {name}')
