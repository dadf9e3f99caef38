"""Runs any analysis: its arguments, what it may overwrite, its measure, and the files that it leaves."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from refconv_mm.commands.arguments import add_force
from refconv_mm.console import print_markdown
from refconv_mm.files.writing import check_free, write_whole
from .common.options import Analysis, add_options, read_options
from .common.sources import SOURCES, parts_file

NAMES = ('redundancy', 'skeleton', 'theory', 'landscape', 'curvature', 'cost')  # in the order of the HTML page


def analysis_of(name: str) -> Analysis:
    """The analysis in the folder of this name."""
    return import_module(f'.{name}', __package__).ANALYSIS


def add_analyses(parser: ArgumentParser) -> None:
    """Adds a sub-command for each analysis."""
    commands = parser.add_subparsers(metavar='ANALYSIS', required=True)
    for name in NAMES:
        analysis = analysis_of(name)
        one = commands.add_parser(
            name, help=analysis.text.partition('\n')[0], description=analysis.text,
            formatter_class=RawDescriptionHelpFormatter,
        )  # fmt: skip
        SOURCES[analysis.source].add_arguments(one)
        one.add_argument('--names', help="separated by commas (default: the files' names)")
        one.add_argument('--out-dir', required=True)
        add_force(one, 'files of an earlier run')
        add_options(one, analysis.options)
        one.set_defaults(**analysis.defaults, analysis=name)


def run(args: Namespace, command: str) -> list[Path]:
    """Runs the analysis that the arguments of :func:`add_analyses` name, and prints the first part of its report.

    Args:
        command: named in the report.

    Returns:
        The files written.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: a bad argument, or an input that the analysis refuses.
    """
    analysis, out_dir = analysis_of(args.analysis), Path(args.out_dir)
    options = read_options(args, analysis.options)
    check_unwritten(analysis, out_dir, args.force)
    results = SOURCES[analysis.source].measure(analysis, options, args, out_dir)
    written, text = write(analysis, results, out_dir, command)
    print_markdown(text)
    for path in written:
        print(f'wrote {path}')
    return written


def interrupted(args: Namespace) -> str:
    """The line to print after Ctrl-C: whether the same command continues from partial results."""
    parts = parts_file(analysis_of(args.analysis), Path(args.out_dir))
    return 'interrupted' + (
        f'; partial results are kept in {parts}: the same command goes on from there' if parts.is_file() else ''
    )


def check_unwritten(analysis: Analysis, out_dir: Path, force: bool) -> None:
    """Raises before the work begins if files of an earlier run of the analysis would be overwritten unasked.

    Raises:
        FileExistsError: names the first such file.
    """
    figures = [path for path in sorted(out_dir.glob(f'{analysis.name}*.png')) if caption_of(analysis, path)]
    check_free(out_dir, [f'{analysis.name}.md', f'{analysis.name}.json', *(path.name for path in figures)], force)


def caption_of(analysis: Analysis, path: Path) -> str | None:
    """What a figure of an analysis shows; None if the file is none of its figures."""
    stem, _, page = path.stem.partition('-')
    caption = analysis.captions.get(stem)
    return f'{caption} ({page})' if caption and page else caption


def write(analysis: Analysis, results: Mapping[str, Any], out_dir: Path, command: str) -> tuple[list[Path], str]:
    """Writes the report, the JSON and the figures of an analysis, each whole or not at all.

    Returns:
        The files written, and the first part of the report.
    """
    from .common.look import save  # matplotlib, which the arguments do without

    results = dict(command=command, **results)
    first, rest = analysis.module('report').report(results)
    head = [f'# {analysis.title}', f'`{command}`']
    if checkpoints := results.get('checkpoints'):
        head.append('\n'.join(f'- {each["name"]}: {each["path"]}, {each["what"]}' for each in checkpoints))
    if 'about' in results:
        head.append(results['about'])
    texts = {
        f'{analysis.name}.md': '\n\n'.join([*head, *first, *rest]) + '\n',
        f'{analysis.name}.json': json.dumps(for_json(results), indent=1, allow_nan=False) + '\n',
    }
    figures = analysis.module('figure').draw(results)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(out_dir / name, lambda path, text=text: Path(path).write_text(text, encoding='utf-8'))
    drawn = [save(figure, out_dir / f'{name}.png') for name, figure in figures.items()]
    return [*(out_dir / name for name in texts), *drawn], '\n\n'.join([*head, *first])


def for_json(value: Any) -> Any:
    """The same without keys that begin with an underscore, and with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: for_json(part) for key, part in value.items() if not str(key).startswith('_')}
    if isinstance(value, list | tuple):
        return [for_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
