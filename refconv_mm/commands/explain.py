"""Explains errors that other libraries raise while they build or run what a config describes.

mmengine and the libraries on it raise an error where they notice it, deep in their code, and do not say which key of
the config it comes from. The frames of the traceback know: one has the config, another the part that was being built.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import OPTIMIZERS, Registry
from torch import nn
from torch.utils.data import DataLoader

from ..files import errors
from ..files.unpickling import unpickling_problem
from ..data.classes import why_empty
from ..files.errors import DataError, chain

# Functions upstream that build a part from its config, which they get as an argument.
PACKAGE = Path(__file__).resolve().parents[1]
_BUILDERS = re.compile(r'_?(build|initialize)')


def explain(error: BaseException) -> str | None:
    """What a user needs to know: of an error in a config the key, the value and the nearest right one.

    Where only the place is known, the traceback goes to a file, which the last line names.

    Returns:
        None for a fault of the code, whose traceback helps to find it.
    """
    if isinstance(error, DataError):  # from a DataLoader's worker with the worker's traceback as its text
        return str(error).rpartition('DataError: ')[2].strip()
    if isinstance(error, UnpicklingError):
        return f'a checkpoint {unpickling_problem(error)}'
    if isinstance(error, OSError) and error.strerror and not isinstance(error, FileNotFoundError):
        return f'{error.filename}: {error.strerror}' if error.filename else error.strerror  # a disk or a permission
    explained = _explain_config(error)
    return explained or (str(error) if is_for_users(error) or isinstance(error, OSError) else None)


def is_for_users(error: BaseException) -> bool:
    """Whether an error's message is all that a user needs: this package raised it, or one that led to it."""
    if any(type(cause).__module__ == errors.__name__ for cause in chain(error)):
        return True
    for cause in chain(error):
        for frame in traceback.extract_tb(cause.__traceback__)[-1:]:  # the innermost
            if Path(frame.filename).resolve().is_relative_to(PACKAGE) and (frame.line or '').startswith('raise '):
                return True
    return False


def _explain_config(error: BaseException) -> str | None:
    frames = list(_frames(error))
    cfg = next((value for frame in frames for value in frame.f_locals.values() if isinstance(value, Config)), None)
    if cfg is None:
        return None
    ours, what = is_for_users(error), _text(error, frames)
    for frame in reversed(frames):
        if part := _part(frame, cfg._cfg_dict):
            path, node = part
            if ours:
                return f'{path}: {error}'
            known = _unknown_type(frame, node) or _unknown_option(frame, node, str(error)) or _no_samples(node, error)
            return f'{path}: {known}' if known else _kept(f'{path}{_kind(node)}: {what}{_texts(frame, node)}', error)
    if ours:
        return None
    if 'ConfigDict' in str(error) and isinstance(error, AttributeError):
        return f'the config has no {error.name!r}, or it is not a dict'
    if Path(frames[-1].f_code.co_filename).resolve().is_relative_to(PACKAGE):
        return None
    place = ', '.join(filter(None, [_layer(frames) or _object(frames, cfg._cfg_dict), _file(frames)]))
    return _kept(f'{place}: {what}' if place else what, error)


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames of an error, and of those that led to it, the outermost first."""
    for cause in chain(error):
        yield from (frame for frame, _ in traceback.walk_tb(cause.__traceback__))


def _text(error: BaseException, frames: list[FrameType]) -> str:
    said = str(error) if len(str(error)) < 600 else f'{str(error)[:600]} ...'
    text = f'{type(error).__name__}: {said}' if said else type(error).__name__
    for frame in reversed(frames):
        address = next((v for v in frame.f_locals.values() if isinstance(v, str) and re.match(r'https?://\S+$', v)), '')
        if address and isinstance(error, OSError):
            return (
                f'{address} cannot be downloaded ({text}). Start from a file that you have: --init CKPT, or load_from '
                'and init_cfg=None in the config'
            )
    return text


def _part(frame: FrameType, root: ConfigDict) -> tuple[str, ConfigDict] | None:
    """The path and the node of the config that a builder's frame builds."""
    if not _BUILDERS.match(frame.f_code.co_name):
        return None
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    built = next((frame.f_locals[name] for name in names if isinstance(frame.f_locals.get(name), ConfigDict)), None)
    if not built:
        return None

    def alike(node: ConfigDict) -> int:
        """Parts are copied, stripped and completed on their way to the builder."""
        if node.get('type') != built.get('type'):
            return 0
        return sum(key in node and _same(node[key], value) for key, value in built.items())

    scored = [(alike(node), path, node) for path, node in _nodes(root, '')]
    score, path, node = max(scored, key=lambda item: item[0], default=(0, '', root))
    return (path, node) if score else None


def _nodes(node: Any, path: str) -> Iterator[tuple[str, ConfigDict]]:
    """Every dict below a config, with its dotted path."""
    if isinstance(node, ConfigDict):
        if path:
            yield path, node
        for key, value in node.items():
            yield from _nodes(value, f'{path}.{key}' if path else str(key))
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _nodes(value, f'{path}[{i}]')


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (ValueError, RuntimeError):  # arrays and tensors
        return False


def _unknown_type(frame: FrameType, node: ConfigDict) -> str | None:
    if isinstance(optimizer := node.get('optimizer'), ConfigDict):
        # mmengine looks an optimizer's type up without a check.
        text = _unregistered(optimizer.get('type'), OPTIMIZERS)
        return text and f'optimizer: {text}'
    registry = frame.f_locals.get('registry')
    return _unregistered(node.get('type'), registry) if isinstance(registry, Registry) else None


def _unregistered(name: Any, registry: Registry) -> str | None:
    if name is None:
        return "it has no 'type'"
    if not isinstance(name, str) or registry.get(name) is not None:
        return None
    known: set[str] = set()
    each: Registry | None = registry
    while each is not None:
        known |= set(each.module_dict)
        each = each.parent
    others = [f'{scope}.{name}' for scope, child in registry.root.children.items() if name in child.module_dict]
    near = others or _near(name.rpartition('.')[2], known)
    hint = f'did you mean {near[0]!r}?' if near else 'is its module in custom_imports?'
    return f'type={name!r} is not registered; {hint}'


def _unknown_option(frame: FrameType, node: ConfigDict, text: str) -> str | None:
    match = re.search(r"unexpected keyword argument '(\w+)'", text)
    if match is None or match[1] not in node:
        return None
    known = list(_parameters(_built_type(frame, node)))
    near = _near(match[1], set(known))
    hint = f'did you mean {near[0]!r}?' if near else f'it has {", ".join(known)}'
    return f'{_kind(node).strip(" ()") or "it"} has no option {match[1]!r} (={node[match[1]]!r}); {hint}'


def _no_samples(node: ConfigDict, error: BaseException) -> str | None:
    if 'need at least one array to concatenate' not in str(error):
        return None
    return f'the data set{_kind(node)} has no sample to train on. {why_empty(node)}'


def _texts(frame: FrameType, node: ConfigDict) -> str:
    """Texts among the options of a part that take a number."""
    odd = []
    for key, value in node.items():
        each = _parameters(_built_type(frame, node)).get(key)
        if each is None or not isinstance(value, str) or isinstance(each.default, str):
            continue
        if isinstance(each.default, int | float) or each.annotation in (int, float, 'int', 'float'):
            odd.append(f'{key}={value!r} is a text; {key} takes a number')
    return '; ' + '; '.join(odd) if odd else ''


def _built_type(frame: FrameType, node: ConfigDict) -> Any:
    if frame.f_code.co_name == 'build_dataloader':
        return DataLoader
    names = ('obj_cls', 'conv_layer', 'norm_layer', 'padding_layer', 'upsample')
    return next((frame.f_locals[name] for name in names if name in frame.f_locals), node.get('type'))


def _parameters(built: Any) -> dict[str, inspect.Parameter]:
    """The options of a class and of its bases, which `**kwargs` can reach."""
    found: dict[str, inspect.Parameter] = {}
    for each in inspect.getmro(built) if inspect.isclass(built) else [built]:
        function = each.__dict__.get('__init__') if inspect.isclass(each) else each
        if not inspect.isfunction(function):
            continue
        own = inspect.signature(function).parameters
        found = {**own, **found}
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in own.values()):
            break
    return {name: each for name, each in found.items() if name != 'self' and each.kind.name[:4] != 'VAR_'}


def _kind(node: ConfigDict) -> str:
    kind = node.get('type')
    return f' ({kind if isinstance(kind, str) else getattr(kind, "__name__", kind)})' if kind else ''


def _near(name: str, known: set[str]) -> list[str]:
    lower = {each.lower(): each for each in sorted(known)}
    return [lower[each] for each in difflib.get_close_matches(name.lower(), list(lower), 1)]


def _layer(frames: list[FrameType]) -> str | None:
    """The innermost layer of the model that was being run."""
    modules = [frame.f_locals['self'] for frame in frames if isinstance(frame.f_locals.get('self'), nn.Module)]
    if not modules:
        return None
    names = {id(module): name for name, module in modules[0].named_modules()}
    inner = [module for module in modules if names.get(id(module))]
    if not inner:
        return f'the model ({type(modules[0]).__name__})'
    return f'model.{names[id(inner[-1])]} ({type(inner[-1]).__name__})'


def _object(frames: list[FrameType], root: ConfigDict) -> str | None:
    """The part of the config whose object (a hook, a transform, a metric) was at work."""
    nodes = sorted(_nodes(root, ''), key=lambda item: not item[0].startswith('train'))
    for frame in reversed(frames):
        name = type(frame.f_locals.get('self')).__name__
        for path, node in nodes:
            if name == _kind(node).strip(' ()').rpartition('.')[2]:
                return f'{path} ({name})'
    return None


def _file(frames: list[FrameType]) -> str | None:
    """The file of the sample that was being read or scored."""
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            path = value.get('img_path') if isinstance(value, dict) else None
            if isinstance(path, str):
                return path
    return None


def _kept(text: str, error: BaseException) -> str:
    handle, path = tempfile.mkstemp(prefix='refconv-error-', suffix='.txt')
    with os.fdopen(handle, 'w', encoding='utf-8', errors='replace') as file:
        file.write(''.join(traceback.format_exception(error)))
    return f'{text}\n  (the traceback is in {path})'
