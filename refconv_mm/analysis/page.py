"""All analyses of a set of checkpoints as one HTML page that needs nothing else; `page.html` is its template."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markdown import Markdown
from markupsafe import Markup

from ..files import write_whole
from ..version import __version__
from .common.options import Analysis
from .driver import NAMES, analysis_of, caption_of

PNG = b'\x89PNG\r\n\x1a\n'
BOX = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
Section = dict[str, Any]  # one analysis in one directory, as the template takes it


def blocks_of(text: str) -> list[dict[str, Any]]:
    """The parts of a Markdown report by headings of level 2, as HTML; tables in boxes that scroll by themselves."""
    converter, blocks = Markdown(extensions=['tables', 'sane_lists'], output_format='html'), []
    for part in re.split(r'^## ', text, flags=re.MULTILINE):
        title, _, body = part.partition('\n')
        # Names out of checkpoints must not bring in HTML, links or pictures; in code they are text anyway.
        pieces = body.split('`')
        pieces[::2] = [escape(piece, quote=False).replace('[', r'\[') for piece in pieces[::2]]
        html = converter.reset().convert('`'.join(pieces))
        rows = max(0, sum(line.startswith('|') for line in body.splitlines()) - 2)
        html = html.replace('<table>', BOX).replace('</table>', '</table></div>')
        blocks.append(dict(title='' if title.startswith('# ') else title, html=Markup(html), rows=rows))
    return blocks


def read_results(path: Path, analysis: Analysis) -> Section:
    """What the JSON of an analysis says: `names` that were measured, `checkpoints`, and `rows` of the summary."""
    try:
        results = json.loads(path.read_text(encoding='utf-8'))
        rows = analysis.module('report').headlines(results)
        measured = results['models' if analysis.source == 'models' else 'checkpoints']
        if not (names := [each['name'] for each in measured]):
            raise ValueError('it names nothing that was measured')
        checkpoints = [dict(each, path=str(each['path'])) for each in results.get('checkpoints', [])]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, StopIteration) as error:
        again = f'make it again with tools/analyse.py {analysis.name} --force'
        raise ValueError(f'{path} is damaged or not what {analysis.name} writes ({error!r}); {again}') from error
    return dict(names=names, checkpoints=checkpoints, rows=rows)


def picture_of(path: Path, caption: str, names: Sequence[str]) -> dict[str, str]:
    """A figure as data, with the text that stands for it; ValueError if the file is no PNG."""
    if not (data := path.read_bytes()).startswith(PNG):
        raise ValueError(f'{path} is damaged or no PNG; make it again')
    alt = f'{caption}: {", ".join(names)}. The tables hold its numbers.'
    return dict(data=base64.b64encode(data).decode(), alt=alt, caption=caption)


def read_section(folder: Path, analysis: Analysis, prefix: str) -> Section | None:
    """One analysis of a directory; None if nothing of it is there."""
    name, files = analysis.name, [folder / f'{analysis.name}{suffix}' for suffix in ('.md', '.json')]
    figures = {path: caption for path in folder.glob(f'{name}*.png') if (caption := caption_of(analysis, path))}
    if not (there := [path for path in files if path.is_file()]) and not figures:
        return None
    found = read_results(files[1], analysis) if files[1] in there else dict(names=[], checkpoints=[], rows=[])
    blocks = blocks_of(files[0].read_text(encoding='utf-8', errors='replace')) if files[0] in there else []
    notes = [f'{path} is missing.' for path in files if path not in there]
    notes += [] if figures else [f'{folder} has no figure of it ({name}*.png).']
    # By name, then by the number of the page.
    order = sorted(figures, key=lambda path: (path.stem.partition('-')[0], int(path.stem.partition('-')[2] or 0)))
    shown = [(path, picture_of(path, figures[path], found['names'])) for path in order]
    return dict(
        found, name=name, short=name.capitalize(), title=analysis.title, id=f'{prefix}-{name}', blocks=blocks,
        notes=notes, of_models=analysis.source == 'models',
        figures=[each for path, each in shown if '-' not in path.stem],
        pages=[each for path, each in shown if '-' in path.stem],
    )  # fmt: skip


def read_group(folder: Path, number: int = 1) -> dict[str, Any]:
    """What there is of each analysis in a directory, as the template takes it: part `number` of the page."""
    if not folder.is_dir():
        raise FileNotFoundError(f'no directory at {folder}')
    found = {name: read_section(folder, analysis_of(name), f'part{number}') for name in NAMES}
    sections = [section for section in found.values() if section]
    if not sections:
        raise FileNotFoundError(f'{folder} has nothing of any analysis ({", ".join(NAMES)})')
    checkpoints: dict[tuple[str, str], dict[str, Any]] = {}
    for section in sections:
        for each in section['checkpoints']:
            entry = checkpoints.setdefault((each['name'], each['path']), dict(each, used_by=[]))
            entry['used_by'].append(section['name'])
    names, summaries = [name for name, _ in checkpoints], []
    for title, of_models in (('Checkpoints', False), ('Models', True)):
        parts = [section for section in sections if section['rows'] and section['of_models'] == of_models]
        columns = dict.fromkeys(name for part in parts for row in part['rows'] for name in row.values)
        summaries += [dict(title=title, names=list(columns), sections=parts)] if parts else []
    missing = [name for name, section in found.items() if section is None]
    notes = [f'{name} is not the same file in all analyses.' for name in dict.fromkeys(names) if names.count(name) > 1]
    notes += [f'Not in {folder}: {", ".join(missing)} (tools/analyse.py).'] if missing else []
    return dict(
        name=folder.resolve().name, id=f'part{number}', sections=sections, summaries=summaries, notes=notes,
        checkpoints=list(checkpoints.values()),
    )  # fmt: skip


def write_page(folders: Sequence[Path], out: Path, title: str | None = None, force: bool = False) -> Path:
    """Writes the page `out` of one or more directories, whole or not at all, and returns it.

    Args:
        folders: one for each net that was looked into, with what the analyses wrote there.
        title: by default from the directories' names.

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
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name('page.html').read_text(encoding='utf-8'))
    made = f'refconv_mm {__version__}, {time.strftime("%Y-%m-%d %H:%M")}'
    title = title or f'Inside the nets: {", ".join(group["name"] for group in groups)}'
    page = template.render(groups=groups, title=title, made=made).strip() + '\n'
    write_whole(out, lambda path: Path(path).write_text(page, encoding='utf-8'))
    return out
