"""The identity of a run: hashes of the code, the config and the start that decide its result, and the versions."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.openmmlab.versions import FORKS, distribution_version

PACKAGE = Path(__file__).resolve().parents[1]
RUN = 'compare/single_run.py'  # the module that trains, fuses and tests a run
DISTRIBUTIONS = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'mmpretrain')


def run_identity(cfg: Config, start: str | None, code: str) -> dict[str, str]:
    """The four parts that decide the result of a run.

    Args:
        cfg: the config of the run.
        start: the checkpoint that the run starts from.
        code: of :func:`code_hash`.

    Returns:
        `code`, `config`, `start` (hashes) and `versions`.
    """
    return dict(
        code=code,
        config=config_hash(cfg),
        start='' if start is None else weights_hash(start),
        versions=versions(),
    )


def key_of(parts: Mapping[str, str]) -> str:
    """One hash of the four parts."""
    return _hash(json.dumps(dict(parts), sort_keys=True))


def changed_parts(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names of the parts that differ."""
    return [name for name in one if one[name] != other.get(name)]


def code_hash(package: Path = PACKAGE) -> str:
    """The hash of the code that a run executes; comments and docstrings do not change it."""
    digest = hashlib.sha256()
    for name, tree in sorted(run_code(package).items()):
        digest.update(f'{name}\n{_without_docstrings(tree)}\n'.encode())
    return digest.hexdigest()


def run_code(package: Path = PACKAGE) -> dict[str, ast.Module]:
    """The files of the package that a run executes, parsed.

    They are `RUN` and the modules that register a type, since configs name types, and all that those import from the
    package.
    """
    trees = {
        path.relative_to(package).as_posix(): ast.parse(path.read_text(encoding='utf-8'))
        for path in package.rglob('*.py')
    }
    open_names = [RUN, *(name for name, tree in trees.items() if _registers(tree))]
    found: dict[str, ast.Module] = {}
    while open_names:
        name = open_names.pop()
        if name in trees and name not in found:
            found[name] = trees[name]
            open_names += _imported_files(name, trees[name])
    return found


def _registers(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == 'register_module' for node in ast.walk(tree))


def _imported_files(name: str, tree: ast.Module) -> Iterator[str]:
    """The files that the imports of a file may read: modules, packages, and the packages that hold them."""
    folder = name.split('/')[:-1]
    yield from ('/'.join([*folder[:depth], '__init__.py']) for depth in range(len(folder) + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) - node.level + 1] + (node.module.split('.') if node.module else [])
            for target in ([], *([alias.name] for alias in node.names)):
                module = '/'.join([*base, *target])
                yield from (f'{module}.py', f'{module}/__init__.py')


def snapshot(folder: Path, code: str) -> Path:
    """Copies the package beside the results, so that edits do not change the runs of a plan that is running.

    Args:
        folder: gets a folder named after the hash, with a script `run.py` that starts one run.
        code: the hash that the copy must have.

    Returns:
        The script.

    Raises:
        ValueError: the code changed since the hash was taken.
    """
    target = folder / code[:12]
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            copy = Path(temporary, 'copy')
            shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
            (copy / 'run.py').write_text(f'from {PACKAGE.name}.compare.single_run import main\n\nmain()\n')
            if code_hash(copy / PACKAGE.name) != code:
                raise ValueError(f'{PACKAGE} changed while the plan was read; start it again')
            copy.rename(target)
    return target / 'run.py'


def _without_docstrings(tree: ast.Module) -> str:
    """The code of a tree as text, without its docstrings; changes the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False) is not None:
            del node.body[0]
    return ast.dump(tree)


def config_hash(cfg: Config) -> str:
    """The hash of the values of a config without its work dir."""
    values = {key: value for key, value in cfg._cfg_dict.to_dict().items() if key != 'work_dir'}
    return _hash(json.dumps(values, sort_keys=True, default=str))


def weights_hash(path: str | Path) -> str:
    """The hash of the weights in a checkpoint: their names, shapes, types and bytes."""
    path = Path(path).resolve()
    stat = path.stat() if path.is_file() else None
    return _weights_hash(path, stat.st_mtime_ns if stat else 0, stat.st_size if stat else 0)


@cache
def _weights_hash(path: Path, time: int, size: int) -> str:
    state: dict[str, Tensor] = read_checkpoint(path)['state_dict']
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f'{name}{tuple(tensor.shape)}{tensor.dtype}'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@cache
def versions() -> str:
    """The versions of Python, torch and the libraries."""
    found = [(name, distribution_version(name)) for name in [*DISTRIBUTIONS, *FORKS.values()]]
    return ', '.join([f'python {platform.python_version()}', *(f'{name} {have}' for name, have in found if have)])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
