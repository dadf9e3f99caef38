"""Imports run downward only, and the package imports mmengine and mmcv but no library built on them."""

import ast
from pathlib import Path

import pytest

from .conftest import ROOT, run

# A module may import those to its left.
ORDER = [
    'version', 'versions', 'errors', 'files', 'lock', 'seeds', 'console', 'arguments', 'gpu_ops', 'unpickling',
    'compat', 'memory',
    'functional', 'options', 'stored', 'layer', 'conv_types', 'targets', 'surgery', 'turning',
    'distributed', 'config', 'image_size', 'verify', 'models', 'pth_files', 'checkpoint', 'deployed',
    'onnx_model', 'onnx_graph', 'export', 'backbone', 'small_image_backbone', 'analysis', 'curves',
    'class_scores', 'hooks', 'run_settings', 'terminal', 'runners', 'onnx_runner', 'compare', 'sweep',
    'data', 'predict', 'gpu_check', 'new_templates', 'new_config', 'demo', 'commands', '__main__', '__init__',
]  # fmt: skip
FILES = sorted((ROOT / 'refconv_mm').rglob('*.py'))


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
    return path.relative_to(ROOT / 'refconv_mm').parts[0].removesuffix('.py')


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path):
    own, depth = place(path), len(path.relative_to(ROOT / 'refconv_mm').parts)
    assert own in ORDER, f'{path} is new: give it its place in ORDER'
    for level, name in imports(path):
        if level == 0:
            assert name.split('.')[0] not in ('mmdet', 'mmseg', 'mmpretrain', 'refconv_mm'), f'{path} imports {name}'
        elif level == depth:
            target = name.split('.')[0]
            assert ORDER.index(target) < ORDER.index(own), f'{path} imports {target}, which stands above it'


def test_a_comparison_imports_no_analysis_and_no_matplotlib_before_it_draws():
    folder = ROOT / 'refconv_mm' / 'compare'
    for path in folder.glob('*.py'):
        assert not [name for level, name in imports(path) if level == 2 and name.split('.')[0] == 'analysis'], path
    names = [f'refconv_mm.compare.{path.stem}' for path in folder.glob('*.py') if path.stem != 'figure']
    names += ['refconv_mm.compare', 'refconv_mm.commands.compare']
    run('-c', f'import sys, {", ".join(names)}; assert "matplotlib" not in sys.modules')


def test_functional_needs_torch_alone():
    names = {name.split('.')[0] for level, name in imports(ROOT / 'refconv_mm' / 'functional.py') if level == 0}
    assert names <= {'__future__', 'collections', 'itertools', 'math', 'typing', 'torch'}


def test_tools_are_short_and_files_are_small():
    for path in (ROOT / 'tools').glob('*.py'):
        assert len(path.read_text().splitlines()) < 80, f'{path}: a tool has no logic'
