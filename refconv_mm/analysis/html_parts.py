"""Parts of the HTML report: Markdown as blocks of HTML, figures as data."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import markdown
from markupsafe import Markup

PNG = b'\x89PNG\r\n\x1a\n'
# What the reports never use, and names out of checkpoints must not smuggle in: raw HTML, links, pictures.
REFUSED = (
    'html', 'link', 'image_link', 'reference', 'short_reference', 'image_reference', 'short_image_ref', 'autolink',
    'automail', 'entity',
)  # fmt: skip
CAPTIONS = {
    'redundancy': 'How alike the channels of each layer are, over depth, by five measures',
    'redundancy_heat': 'Channels against channels, layer by layer',
    'skeleton': 'Mean magnitude at each kernel position over the net, what changed, and the regions over depth',
    'skeleton_layers': 'Mean magnitude at each kernel position, layer by layer',
    'theory': 'How well the Gram matrix of the basis predicts what changed, over depth and over the net',
    'theory_gram': 'The Gram matrix of the basis: speed, condition, eigenvalues, diagonal',
    'landscape': 'The task loss along filter-normalised random directions',
    'landscape_map': 'The task loss on a plane of two filter-normalised random directions',
    'curvature': 'Largest eigenvalues, trace and spectral density of the Hessian, and sharpness by radius',
    'cost': 'Size, memory and time of each model',
}


@dataclass
class Block:
    """A heading of a Markdown report and what is below it.

    Attributes:
        title: empty for what comes before the first heading.
        html: safe.
        rows: of its tables, heads not counted.
    """

    title: str
    html: Markup
    rows: int


@dataclass
class Picture:
    """A PNG, base64, with its size in pixels."""

    data: str
    width: int
    height: int
    alt: str
    caption: str


def blocks_of(text: str) -> tuple[str, list[Block]]:
    """The title (of level 1; empty if there is none) and the blocks (by headings of level 2) of a Markdown report.

    Tables are put into boxes that scroll by themselves. Raw HTML, links and pictures come out as text.
    """
    title = re.match(r'# (.+)\n', text)
    parts = re.split(r'^## (.+)\n', text[title.end() :] if title else text, flags=re.MULTILINE)
    blocks = [_block(title.group(1) if title else '', '', parts[0])]
    blocks += [_block(name, name, body) for name, body in zip(parts[1::2], parts[2::2], strict=True)]
    return (title.group(1).strip() if title else ''), [block for block in blocks if block.title or block.html]


def _block(label: str, title: str, text: str) -> Block:
    converter = markdown.Markdown(extensions=['tables', 'sane_lists'], output_format='html')
    converter.preprocessors.deregister('html_block')
    converter.parser.blockprocessors.deregister('reference')
    for name in REFUSED:
        converter.inlinePatterns.deregister(name)
    # Paragraph by paragraph: Markdown would make one list of two that a blank line parts.
    html = '\n'.join(converter.reset().convert(part) for part in re.split(r'\n\s*\n', text) if part.strip())
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label.strip())}"><table>'
    html = html.replace('<table>', box).replace('</table>', '</table></div>')
    # Layer names may break at their dots, where a narrow screen has no room for them.
    html = re.sub(r'(?<=<tr>\n<td>)[^<]+', lambda name: re.sub(r'(?<=\w)([._/])(?=\w)', r'\1<wbr>', name.group()), html)
    bodies = re.findall(r'<tbody>(.*?)</tbody>', html, flags=re.DOTALL)
    return Block(title.strip(), Markup(html), sum(body.count('<tr>') for body in bodies))


def picture_of(path: Path, names: Sequence[str]) -> Picture:
    """A figure.

    Args:
        names: of the checkpoints in it, for the text that stands for the picture.

    Raises:
        ValueError: the file is no PNG.
    """
    data = path.read_bytes()
    if not data.startswith(PNG) or len(data) < 24:
        raise ValueError(f'{path} is damaged or no PNG; make it again')
    width, height = struct.unpack('>II', data[16:24])
    stem, _, page = path.stem.partition('-')
    caption = CAPTIONS.get(stem, stem.replace('_', ' '))
    caption += f' ({page})' if page else ''
    alt = f'{caption}{": " if names else ""}{", ".join(names)}. The tables hold its numbers.'
    return Picture(base64.b64encode(data).decode(), width, height, alt, caption)


def figures_of(folder: Path, name: str) -> tuple[list[Path], list[Path]]:
    """`name.png`, then `name_*.png`; and the numbered pages, `name_*-2.png`, in order."""
    paths = [path for path in folder.glob(f'{name}*.png') if re.match(rf'{name}(_|-|$)', path.stem)]
    pages = [path for path in paths if re.search(r'-\d+$', path.stem)]
    pages.sort(key=lambda path: (path.stem.rpartition('-')[0], int(path.stem.rpartition('-')[2])))
    return sorted(set(paths) - set(pages), key=lambda path: path.stem), pages
