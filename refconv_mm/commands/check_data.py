"""Lists the faults in a config's data sets. The exit code is 1 if one would stop a training or make a score wrong.

refconv check-data CONFIG
"""

from argparse import ArgumentParser, Namespace

from rich import print as rich_print

from ..data.check import check_config, findings_table
from ..running.config_checks import check_types
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, 'a config; for a folder of data, `refconv new` writes one')


def run(args: Namespace) -> int:
    """Checks; returns 1 if there are errors."""
    cfg = arguments.open_config(args.config, args.cfg_options)
    check_types(cfg)
    findings, sets = check_config(cfg, progress=True)
    print('\n'.join(loaded.describe() for loaded in sets))
    rich_print(findings_table(findings) if findings else 'no errors, no warnings')
    return int(any(finding.error for finding in findings))
