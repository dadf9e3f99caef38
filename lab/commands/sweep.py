"""Checks refocusing and fusing on one model of each family of mmpretrain, mmdet, mmseg, torchvision and timm.

python -m lab sweep --page docs/models.md
It takes hours. After an interruption, the same command goes on where it was.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from refconv_mm.console import log_console
from refconv_mm.files.writing import write_text
from ..sweep.families import LIBRARIES
from ..sweep.page import as_page, outcome
from ..sweep.runner import planned, read_results, run_sweep


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        '--libraries',
        nargs='+',
        choices=LIBRARIES,
        default=LIBRARIES,
        metavar='LIBRARY',
        help='default: all that are installed',
    )
    parser.add_argument('--only', nargs='+', default=['*'], metavar='GLOB', help='families, as in "mmdet/r*"')
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/sweep'),
        help='where results.jsonl is kept (default: %(default)s)',
    )
    parser.add_argument('--page', type=Path, help='the Markdown page to write, from all results of --out-dir')
    parser.add_argument(
        '--timeout', type=float, default=300, metavar='SECONDS', help='for a model (default: %(default)s)'
    )


def run(args: Namespace) -> int:
    """Checks the models and writes the page."""
    models = planned(args.libraries, args.only)
    if not models:
        raise ValueError(f'--only {" ".join(args.only)} matches no family of the installed libraries')
    path = args.out_dir / 'results.jsonl'
    try:
        _check(models, path, args.timeout)
    finally:  # also after Ctrl-C
        if args.page:
            _write_page(args.page, path, args.command_line)
    results = read_results(path)
    wrong = [r for r in results if outcome(r) == 'WRONG']
    print(f'{len(results)} models in {path}, {len(wrong)} of them wrong')
    return 1 if wrong else 0


def _check(models: list[dict[str, str]], path: Path, timeout: float) -> None:
    console = log_console()
    for result in run_sweep(models, path, timeout):
        console.print(
            f'{result["library"]}/{result["family"]}: {result["result"]} ({result["seconds"]} s)', markup=False
        )


def _write_page(page: Path, path: Path, command: str) -> None:
    results = read_results(path)
    done = {(r['library'], r['family'], r['model']) for r in results}
    missing = [model for model in planned(LIBRARIES) if tuple(model.values()) not in done]
    write_text(page, as_page(results, missing, command))
    print(f'wrote {page}')


def interrupted(args: Namespace) -> str:
    """The line after Ctrl-C."""
    return f'interrupted; the results so far are in {args.out_dir}, and the same command goes on'
