"""All analyses of a set of checkpoints as one HTML page that needs nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..files import write_whole
from ..version import __version__
from .html_page import STYLE, TEMPLATE
from .html_parts import Block, Picture, blocks_of, figures_of, picture_of
from .html_summary import ANALYSES, Row

LONG = 12  # rows; tables with more are folded away


@dataclass
class Section:
    """One analysis in one directory.

    Attributes:
        name: of its tool.
        title: of its Markdown report.
        results: of its JSON; None if there is none.
        rows: of the summary.
        notes: what is missing.
    """

    name: str
    title: str
    id: str
    results: dict[str, Any] | None
    rows: list[Row]
    blocks: list[Block]
    figures: list[Picture]
    pages: list[Picture]
    notes: list[str]

    @property
    def short(self) -> str:
        """For the navigation."""
        return self.name.capitalize()


@dataclass
class Summary:
    """A table of the summary: a column for each name, rows by analysis."""

    title: str
    names: list[str]
    analyses: list[Section]


@dataclass
class Group:
    """The analyses in one directory."""

    name: str
    path: Path
    id: str
    sections: list[Section]
    missing: list[str] = field(default_factory=list)

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        """Every file that an analysis names, once, with the analyses that do."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for section in self.sections:
            for each in (section.results or {}).get('checkpoints', []):
                entry = found.setdefault((each['name'], str(each['path'])), dict(each, used_by=[]))
                entry['used_by'].append(section.name)
        return list(found.values())

    @property
    def ambiguous(self) -> list[str]:
        """Names that stand for more than one file."""
        names = [each['name'] for each in self.checkpoints]
        return [name for name in dict.fromkeys(names) if names.count(name) > 1]

    @property
    def summary(self) -> list[Summary]:
        """One table for what was measured of checkpoints, one for what was of models."""
        tables = []
        for title, of_models in (('Checkpoints', False), ('Models', True)):
            sections = [s for s in self.sections if s.rows and (s.name == 'cost') == of_models]
            names = dict.fromkeys(name for section in sections for row in section.rows for name in row.values)
            if sections:
                tables.append(Summary(title, list(names), sections))
        return tables


def read_results(path: Path, name: str) -> tuple[dict[str, Any], list[Row]]:
    """The JSON of an analysis and its headline figures.

    Raises:
        ValueError: it is damaged, or not what the tool writes.
    """
    again = f'make it again with tools/{name}.py --force'
    try:
        results = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:  # not JSON, not even text
        raise ValueError(f'{path} is damaged ({error}); {again}') from error
    try:
        rows = ANALYSES[name](results)
        of = results['models' if name == 'cost' else 'checkpoints']
        if not [(each['name'], each['config' if name == 'cost' else 'path']) for each in of]:
            raise ValueError('it names nothing that was measured')
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            f'{path} is not what tools/{name}.py writes ({type(error).__name__}: {error}); {again}'
        ) from error
    return results, rows


def read_section(folder: Path, name: str, prefix: str = '') -> Section | None:
    """One analysis of a directory; None if nothing of it is there.

    Raises:
        ValueError: names the file that is damaged.
    """
    text_path, json_path = folder / f'{name}.md', folder / f'{name}.json'
    figures, pages = figures_of(folder, name)
    files = [path for path in (text_path, json_path) if path.is_file()]
    if not files and not figures and not pages:
        return None
    results, rows = read_results(json_path, name) if json_path in files else (None, [])
    try:
        title, blocks = blocks_of(text_path.read_text(encoding='utf-8')) if text_path in files else ('', [])
    except UnicodeDecodeError as error:
        raise ValueError(f'{text_path} is damaged ({error}); make it again with tools/{name}.py --force') from error
    notes = [f'{path} is missing.' for path in (text_path, json_path) if path not in files]
    notes += [] if figures or pages else [f'{folder} has no figure of it ({name}*.png).']
    named = [each['name'] for each in (results or {}).get('checkpoints', (results or {}).get('models', []))]
    title = title or name.capitalize()
    shown, more = ([picture_of(path, named) for path in paths] for paths in (figures, pages))
    return Section(name, title, f'{prefix}{name}', results, rows, blocks, shown, more, notes)


def read_group(folder: Path, number: int = 1) -> Group:
    """What there is of each analysis in a directory.

    Args:
        number: of the group on the page.

    Raises:
        FileNotFoundError: no such directory, or nothing of any analysis in it.
        ValueError: names the file that is damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'no directory at {folder}')
    found = {name: read_section(folder, name, f'part{number}-') for name in ANALYSES}
    sections = [section for section in found.values() if section]
    if not sections:
        raise FileNotFoundError(
            f'{folder} has nothing of any analysis; expected are {", ".join(f"{name}.json" for name in ANALYSES)}, '
            'each with its .md and .png, as the tools write them with --out-dir'
        )
    missing = [name for name, section in found.items() if section is None]
    return Group(folder.resolve().name, folder, f'part{number}', sections, missing)


def render(groups: Sequence[Group], title: str, made: str = '') -> str:
    """The page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.lstrip())
    return template.render(groups=groups, title=title, made=made, long=LONG, style=Markup(STYLE)).lstrip() + '\n'


def run(folders: Sequence[Path], out: Path, title: str | None = None, force: bool = False) -> Path:
    """Writes the page of one or more directories, whole or not at all.

    Args:
        folders: one for each net that was looked into, with what the tools wrote there.
        out: the HTML file.
        title: by default from the directories' names.

    Returns:
        The file written.

    Raises:
        FileExistsError: it is there and `force` is False.
        FileNotFoundError: a directory is not there or has nothing, or that of `out` is not there.
        ValueError: a damaged file, or a directory given twice.
    """
    if out.exists() and not force:
        raise FileExistsError(f'{out} exists and is left alone; name another --out or pass --force')
    if out.is_dir() or not out.parent.is_dir():
        raise FileNotFoundError(f'--out must be a file in a directory that is there, got {out}')
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f'each directory makes a part of the page; one is given twice: {", ".join(map(str, folders))}')
    groups = [read_group(folder, number) for number, folder in enumerate(folders, start=1)]
    title = title or f'Inside the nets: {", ".join(group.name for group in groups)}'
    page = render(groups, title, f'Made by refconv_mm {__version__}, {time.strftime("%Y-%m-%d %H:%M")}')
    write_whole(out, lambda path: Path(path).write_text(page, encoding='utf-8'))
    return out
