"""Sphinx: the pages of docs/, those of the repository that lie outside, and the API from the docstrings.

Nothing is imported: sphinx-autoapi reads the sources. Nothing is fetched, neither when the site is built nor when it is
read: furo brings its styles and scripts, and uses the fonts of the system. For `make docs` a warning is an error.
"""

import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'docs' / '_ext'))

project = 'refconv_mm'
author = copyright = 'The refconv_mm authors'
release = version = runpy.run_path(str(ROOT / 'refconv_mm' / 'version.py'))['__version__']

extensions = ['myst_parser', 'sphinx.ext.napoleon', 'autoapi.extension', 'repository_pages', 'public_names']
exclude_patterns = ['_ext']
myst_heading_anchors = 4
maximum_signature_line_length = 88
smartquotes_action = 'De'  # dashes and dots; the ' of U'U is no quotation mark
highlight_language = 'text'  # most blocks are commands; the others name their language
default_role = 'code'  # docstrings write names in single backticks
suppress_warnings = ['myst.strikethrough']

# The pages that lie outside docs/; each has a stub there, which names its place in the table of contents.
repository_pages = {
    'contributing': 'CONTRIBUTING.md',
    'changelog': 'CHANGELOG.md',
    'security': 'SECURITY.md',
    'lab/comparison': 'lab/README.md',
    'lab/results': 'lab/results/README.md',
    **{f'lab/{name}': f'lab/{name}.md' for name in ('compare', 'analysis')},
    **{
        f'configs/{path.parent.name}': f'configs/{path.parent.name}/README.md'
        for path in ROOT.glob('configs/*/README.md')
    },
}

autoapi_dirs = ['../refconv_mm']
autoapi_generate_api_docs = False  # the pages under api/ name what they show
autoapi_options = ['members', 'show-inheritance']
autoapi_python_class_content = 'class'
napoleon_use_ivar = True
public_package = ROOT / 'refconv_mm' / '__init__.py'

html_theme = 'furo'
html_title = f'refconv_mm {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_show_sphinx = False
html_copy_source = False
templates_path: list[str] = []


ORIGINAL = {}  # docstrings of properties by name, before napoleon


def before_napoleon(app, what, name, obj, options, lines):
    """Makes docstrings reStructuredText: formulas that stand indented after a colon, and `**options` after others."""
    lines[:] = [re.sub(r', \*\*(?=\w+: )', r', \\*\\*', line) for line in lines]
    for i, (line, blank, formula) in enumerate(zip(lines, lines[1:], lines[2:], strict=False)):
        if re.search(r'[^:]:$', line) and not blank and formula.startswith('    '):
            lines[i] += ':'
    ORIGINAL[name] = list(lines)


def after_napoleon(app, what, name, obj, options, lines):
    """Gives properties their summary back: napoleon takes what stands before a colon for the description of a type."""
    if what == 'property' and not any(line.startswith('Raises:') for line in ORIGINAL[name]):
        lines[:] = ORIGINAL[name]


def skip(app, what, name, obj, skipped, options):
    """Leaves out fields without a docstring of their own: the class' docstring has them."""
    return True if getattr(obj, 'type', None) in ('attribute', 'data') and not obj.docstring else None


def setup(app):
    app.connect('autodoc-skip-member', skip)
    app.connect('autodoc-process-docstring', before_napoleon, priority=100)
    app.connect('autodoc-process-docstring', after_napoleon, priority=900)
