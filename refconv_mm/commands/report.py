"""Puts all analyses of a set of checkpoints on one HTML page that needs no other file.

refconv report work_dirs/inside --out inside.html

Several directories, one for each net (a detector, a segmenter), become parts of one page. The page names the analyses
that a directory lacks.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .. import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('dirs', nargs='+', metavar='DIR', help='an --out-dir of the analyses')
    parser.add_argument('--out', required=True, metavar='FILE.html')
    parser.add_argument('--title', help="(default: from the directories' names)")
    arguments.add_force(parser, 'an earlier page')


def run(args: Namespace) -> None:
    """Writes the page."""
    from ..analysis.page import write_page

    path = write_page([Path(folder) for folder in args.dirs], Path(args.out), args.title, args.force)
    print(f'wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)')
