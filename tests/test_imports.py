"""Imports run downward only; and the sizes of the parts stay within their budgets."""

import ast
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

# A folder may import from those to its left.
ORDER = [
    'version', 'console', 'layers', 'surgery', 'files', 'openmmlab', 'checkpoints', 'hooks', 'running', 'data',
    'deploy', 'commands', '__init__', '__main__',
]  # fmt: skip
PACKAGE = ROOT / 'refconv_mm'
FILES = sorted(PACKAGE.rglob('*.py'))


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import in a file; level 0 is absolute."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path):
    own, depth = place(path), len(path.relative_to(PACKAGE).parts)
    assert own in ORDER, f'{path} is new: give it its place in ORDER'
    above = ('mmdet', 'mmseg', 'mmpretrain', 'lab', 'demo', 'tests')
    for level, name in imports(path):
        if level == 0:
            assert name.split('.')[0] not in (*above, 'refconv_mm'), f'{path} imports {name}'
        elif level == depth:
            target = name.split('.')[0]
            assert ORDER.index(target) < ORDER.index(own), f'{path} imports {target}, which stands above it'


@pytest.mark.parametrize('folder', ['layers', 'surgery', 'console.py', 'version.py'])
def test_the_lowest_need_torch_and_rich_alone(folder):
    paths = [PACKAGE / folder] if folder.endswith('.py') else sorted((PACKAGE / folder).glob('*.py'))
    for path in paths:
        names = {name.split('.')[0] for level, name in imports(path) if level == 0}
        others = {'timm'} if path.name == 'timm_layers.py' else set()
        assert names <= {'torch', 'rich', *others, *sys.stdlib_module_names}, path


def lines(*folders: str) -> int:
    return sum(
        len(path.read_text().splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob('*.py')
        if not {'plans', 'configs'} & set(path.relative_to(ROOT).parts)
    )


def words(*paths: Path) -> int:
    return sum(len(path.read_text().split()) for path in paths)


@pytest.mark.parametrize(('folders', 'most'), [
    (['refconv_mm'], 6_500), (['lab', 'demo'], 5_000), (['tests'], 9_500),
])  # fmt: skip
def test_the_parts_stay_within_their_budgets(folders, most):
    assert lines(*folders) <= most


def test_the_documentation_stays_within_its_budget():
    docs = [path for path in (ROOT / 'docs').rglob('*.md') if path.name != 'models.md']
    assert words(ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *docs) <= 18_000


def test_the_root_of_the_package_is_no_drawer():
    assert len(list(PACKAGE.glob('*.py'))) <= 6


@pytest.mark.parametrize('folder', ['refconv_mm', 'lab', 'demo', 'tools'])
def test_files_and_functions_are_small(folder):
    for path in (ROOT / folder).rglob('*.py'):
        if {'plans', 'configs'} & set(path.relative_to(ROOT).parts):
            continue
        assert len(path.read_text().splitlines()) <= 250, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                size = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert size <= 40, f'{path}: {node.name} has {size} lines'
