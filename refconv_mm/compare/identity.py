"""What a result depends on, as a hash: code, config, start and versions."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from ..checkpoint import read_checkpoint

PACKAGE = Path(__file__).resolve().parents[1]
# What plays no part in training, fusing or testing a run, or shows in its config; a file that is not named here counts.
ELSEWHERE = (
    'analysis', 'data', 'demo.py', 'distributed.py', 'export.py', 'onnx_graph.py', 'onnx_model.py',
    'compare/book.py', 'compare/execute.py', 'compare/figure.py', 'compare/plan.py', 'compare/plan_file.py',
    'compare/report.py', 'compare/resolve.py', 'compare/show.py', 'compare/speed.py', 'compare/stats.py',
)  # fmt: skip
DISTRIBUTIONS = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'mmpretrain')


def identity(cfg: Config, start: str | None, code: str) -> dict[str, str]:
    """The four things that decide a run.

    Args:
        cfg: the resolved config.
        start: the checkpoint that it starts from.
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
    """One hash of the four."""
    return _hash(json.dumps(dict(parts), sort_keys=True))


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names of the parts that differ."""
    return [name for name in one if one[name] != other.get(name)]


def code_hash(package: Path = PACKAGE) -> str:
    """Of the package's files that a run uses, read as code: comments and docstrings change nothing."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob('*.py')):
        name = path.relative_to(package).as_posix()
        if name in ELSEWHERE or name.split('/')[0] in ELSEWHERE:
            continue
        digest.update(f'{name}\n{_code(path.read_text(encoding="utf-8"))}\n'.encode())
    return digest.hexdigest()


def snapshot(folder: Path, code: str) -> Path:
    """Copies the package beside the results, so that edits do not reach the runs of a plan that is at work.

    Args:
        folder: gets a folder named after the hash, and a script `run.py` in it that starts one run.
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
            (copy / 'run.py').write_text(f'from {PACKAGE.name}.compare.worker import main\n\nmain()\n')
            if code_hash(copy / PACKAGE.name) != code:
                raise ValueError(f'{PACKAGE} changed while the plan was read; start it again')
            copy.rename(target)
    return target / 'run.py'


def _code(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, 'body', None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(body, list) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, 'value', None), str):
                del body[0]
    return ast.dump(tree)


def config_hash(cfg: Config) -> str:
    """Of the values of a config, but for its work dir."""
    values = {key: value for key, value in cfg._cfg_dict.to_dict().items() if key != 'work_dir'}
    return _hash(json.dumps(values, sort_keys=True, default=str))


def weights_hash(path: str | Path) -> str:
    """Of the weights in a checkpoint: names, shapes, types and bytes; not of how or when they were written."""
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
    """Python's, torch's and the libraries'."""
    found = [f'python {platform.python_version()}']
    for name in DISTRIBUTIONS:
        try:
            found.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            continue
    return ', '.join(found)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
