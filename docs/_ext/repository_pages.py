"""Shows files of the repository that lie outside docs/ as pages of the site, and points links at them.

A stub `docs/NAME.md` stands for each entry of `repository_pages`; its text is replaced by the file's. A relative link
is first resolved in the repository. If a page of the site shows its target, the link goes to that page. Any other file
is offered as a download. A link to nothing, or to a folder, is a warning.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
LINK = re.compile(r'(?<=\]\()(?!\w+:|#|<)([^)\s#]+)(#[^)\s]*)?(?=\))')


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replaces the text of a stub, and the links of every page (the event `source-read`)."""
    docs, pages = Path(app.srcdir), app.config.repository_pages
    if Path(app.env.doc2path(docname)).suffix != '.md':
        return
    root = docs.parent
    home = root / pages[docname] if docname in pages else docs / f'{docname}.md'
    if docname in pages:
        content[0] = home.read_text()
        app.env.note_dependency(str(home))
    shown = {(root / file).resolve(): docs / f'{name}.md' for name, file in pages.items()}

    def moved(match: re.Match) -> str:
        target = (home.parent / match[1]).resolve()
        if not target.is_file():
            LOGGER.warning('a link to %s, which is no file', match[1], location=docname)
            return match[0]
        page = shown.get(target, target)
        return os.path.relpath(page, (docs / docname).parent) + (match[2] or '')

    content[0] = LINK.sub(moved, content[0])


def setup(app: Sphinx) -> dict:
    app.add_config_value('repository_pages', {}, 'env')
    app.connect('source-read', read)
    return {'parallel_read_safe': True}
