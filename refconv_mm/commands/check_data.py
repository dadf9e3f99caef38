"""Lists the faults in a config's data sets that would hurt a training. The exit code is 1 if there are any.

refconv check-data CONFIG
refconv check-data FOLDER   # of data in a known layout, before there is a config
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich import print as rich_print

from . import arguments
from ..data.check import check_config, class_lines, findings_table, folder_config


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, 'a config, or the folder of a data set (docs/data.md)')
    parser.add_argument('--most', type=int, default=50, help='findings to print (default: 50)')


def run(args: Namespace) -> int:
    """Checks; returns 1 if there are findings."""
    is_folder = Path(args.config).is_dir()
    cfg = folder_config(args.config) if is_folder else arguments.open_config(args.config, args.cfg_options)
    for line in class_lines(cfg):
        print(line)
    findings, counts = check_config(cfg, progress=True)
    rich_print(findings_table(findings, counts, args.most))
    return int(bool(findings))
