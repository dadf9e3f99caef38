"""Lists the faults in a config's data sets. The exit code is 1 if one would stop a training or make a score wrong.

refconv check-data CONFIG
refconv check-data FOLDER   # the configs that `refconv new` would write for a folder of data
"""

import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich import print as rich_print

from ..data.check import check_config, findings_table
from ..data.new import write_configs
from ..running.config_checks import check_types
from . import arguments
from .new import add_layout


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, 'a config, or the folder of a data set (docs/data.md)')
    add_layout(parser)


def run(args: Namespace) -> int:
    """Checks; returns 1 if there are errors."""
    with tempfile.TemporaryDirectory() as folder:
        files, said = [Path(args.config)], list[str]()
        if files[0].is_dir():
            files, said = write_configs(files[0], Path(folder), True, None, args.layout, args.mask_values)
        cfg = arguments.open_config(files[0], args.cfg_options)
        check_types(cfg)
        findings, sets = check_config(cfg, progress=True)
    ranges = [loaded.net_input for loaded in sets if loaded.net_input]
    print('\n'.join([*said[:1], *(loaded.describe() for loaded in sets), *said[1 + len(sets) :], *ranges]))
    rich_print(findings_table(findings) if findings else 'no errors, no warnings')
    return int(any(finding.error for finding in findings))
