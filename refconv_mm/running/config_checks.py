"""Checks a config before a library builds it: keys, types, options and data, with the nearest right name."""

from __future__ import annotations

import difflib
import inspect
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine import registry as R
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..hooks.refconv_hook import NO_FLEXIBLE_RUNNER
from ..openmmlab import prepare
from ..surgery.conv_types import type_name

# The parts of a config that one registry builds, by a pattern of their dotted path.
LOADER = r'(train|val|test)_dataloader\.dataset(\.dataset|\.datasets\[\d+\])*'
PLACES = {
    r'model|model\..*\b(\w*backbone|neck|\w*head)(\[\d+\])?': R.MODELS,
    r'model\..*\b(conv_cfg|norm_cfg|act_cfg|loss\w*)': R.MODELS,
    r'(train|val|test)_dataloader': DataLoader,
    LOADER: R.DATASETS,
    rf'{LOADER}\.pipeline\[\d+\]': R.TRANSFORMS,
    r'default_hooks\.\w+|custom_hooks\[\d+\]': R.HOOKS,
    r'(val|test)_evaluator(\[\d+\])?': R.METRICS,
    r'optim_wrapper': R.OPTIM_WRAPPERS,
    r'optim_wrapper\.optimizer': R.OPTIMIZERS,
    r'param_scheduler(\[\d+\])?': R.PARAM_SCHEDULERS,
    r'(train|val|test)_cfg': R.LOOPS,
}
# Parts whose keys others take out before they call the class; and the keys that mmengine takes out of the rest.
NOT_OPTIONS = re.compile(r'optim_wrapper|.*\b(conv_cfg|norm_cfg|act_cfg|loss\w*)')
TAKEN_OUT = {'type', '_scope_', '_delete_', 'priority', 'convert_to_iter_based', 'by_epoch', 'num_batch_per_epoch'}
DOWNLOADED = ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')  # by mmpretrain, where they are missing
# What is read at the top of a config: by mmengine's runner, as an argument or otherwise, and by commands.
READ = {
    *inspect.signature(Runner).parameters, 'activation_checkpointing', 'compile', 'custom_imports',
    'efficient_conv_bn_eval', 'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'sync_bn', 'tta_model',
    'tta_pipeline',
}  # fmt: skip


def check_keys(cfg: Config, names: Iterable[str], where: str) -> None:
    """Checks the dotted names of options that are to be merged into a config.

    A new key passes at the top if mmengine's runner reads it, and elsewhere if no key beside it is spelt like it.

    Raises:
        ValueError: the config has no such key, with the nearest; or the name is one of its variables, from which other
            values were computed when the file was read.
    """
    for name in names:
        top, *_ = name.split('.')
        if top in cfg and (top not in READ or (top == 'data_preprocessor' and top in cfg.get('model', {}))):
            raise ValueError(
                f'{where}: {top} is a variable of the config file, and setting it after the file was read changes no '
                f'other value. Edit it{_place_of(cfg, top)}, or name the values that follow from it'
            )
        node, known, cutoff = cfg._cfg_dict, {*cfg._cfg_dict, *READ}, 0.0
        for key in name.split('.'):
            near = nearest(key, known, cutoff or 0.6)
            if key not in known and (near or not cutoff):
                hint = f'; did you mean {near!r} for {key!r}?' if near else ''
                raise ValueError(f'{where}: the config has no {name}{hint}')
            is_index = isinstance(node, list | tuple) and key.isdigit() and int(key) < len(node)
            node = node[int(key)] if is_index else node.get(key) if isinstance(node, dict) else None
            known, cutoff = {*node} if isinstance(node, dict) else {key}, 0.8


def _place_of(cfg: Config, variable: str) -> str:
    """The file and the line that set a variable of a config: ` in FILE, line N`; '' if they are not found."""
    place, file, start = '', '', 0
    for number, line in enumerate(cfg.text.splitlines()):  # those of the files, each behind its name, the own one last
        if line.endswith('.py') and os.path.isfile(line):
            file, start = line, number
        elif re.match(rf'[\w, ]*\b{variable}\b[\w, ]*=', line):
            place = f' in {file}, line {number - start}'
    return place


def check_complete(cfg: Config) -> None:
    """Raises a ValueError if a training config lacks a part that mmengine's runner needs, or its data do not exist."""
    missing = [name for name in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper') if not cfg.get(name)]
    if missing:
        raise ValueError(f'the config has no {", no ".join(missing)}; a training needs it')
    for path, node in _nodes(cfg._cfg_dict, ''):
        if re.fullmatch(LOADER, path) and not path.startswith('test'):
            _check_data(path, node)


def check_types(cfg: Config) -> None:
    """Checks the parts of a config that one registry builds.

    Raises:
        ValueError: a type is not registered, or a class has no such option; it names the key and the nearest right one.
    """
    prepare()
    if not issubclass(R.RUNNERS.get(cfg.get('runner_type') or 'Runner') or Runner, Runner):
        raise ValueError(f'runner_type={cfg.runner_type!r}: {NO_FLEXIBLE_RUNNER}')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for path, node in _nodes(cfg._cfg_dict, ''):
            registry = next((one for pattern, one in PLACES.items() if re.fullmatch(pattern, path)), None)
            if registry is not None:
                kind = _class_of(path, node, registry)
                if kind is not None and not NOT_OPTIONS.fullmatch(path):
                    _check_options(path, node, kind)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like a name, in any case."""
    lower = {each.lower(): each for each in sorted(known)}
    return next((lower[each] for each in difflib.get_close_matches(name.lower(), list(lower), 1, cutoff)), None)


def _nodes(node: Any, path: str) -> Iterator[tuple[str, dict]]:
    """Every dict below a config, with its dotted path."""
    if isinstance(node, dict):
        if path:
            yield path, node
        for key, value in node.items():
            yield from _nodes(value, f'{path}.{key}' if path else str(key))
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _nodes(value, f'{path}[{i}]')


def _class_of(path: str, node: dict, root: Registry | type) -> Any:
    """The class of a part; None if the part does not name one, as mmengine may have a default."""
    name = node.get('type')
    if path == 'model' and name is None:
        raise ValueError("model: it has no 'type'")
    if path == 'train_cfg' and name is None and 'by_epoch' in node:
        name = 'EpochBasedTrainLoop' if node['by_epoch'] else 'IterBasedTrainLoop'
    if not isinstance(root, Registry) or not isinstance(name, str):
        return root if root is DataLoader else name
    with root.switch_scope_and_registry(node.get('_scope_')) as registry:
        if (kind := registry.get(name)) is not None:
            return kind
    others = sorted(f'{scope}.{name}' for scope, child in root.children.items() if name in child.module_dict)
    near = others[0] if others else nearest(name.rpartition('.')[2], {**root.module_dict, **registry.module_dict})
    hint = f'did you mean {near!r}?' if near else 'is its module in custom_imports, and are its packages installed?'
    raise ValueError(f'{path}: type={name!r} is not registered; {hint}')


def _check_options(path: str, node: dict, kind: Any) -> None:
    functions = [vars(one).get('__init__') for one in inspect.getmro(kind)] if inspect.isclass(kind) else [kind]
    options = [inspect.signature(one, follow_wrapped=False).parameters for one in functions if inspect.isfunction(one)]
    if not options and kind.__init__ is not object.__init__:  # a partial, or of C
        return
    # With **kwargs a class also takes options of its bases, and perhaps others: there, only slips are refused.
    is_open = bool(options) and any(one.kind is one.VAR_KEYWORD for one in options[0].values())
    known = [name for one in options[: None if is_open else 1] for name in one if name != 'self']
    for key in set(node) - TAKEN_OUT - set(known):
        near = nearest(key, known, 0.85 if is_open else 0.6)
        if near or not is_open:
            hint = f'did you mean {near!r}?' if near else f'the options are {", ".join(known) or "none"}'
            raise ValueError(f'{path}: {kind.__name__} has no option {key!r} (={node[key]!r}); {hint}')


def _check_data(path: str, node: dict) -> None:
    root, listed, classes = node.get('data_root'), node.get('ann_file'), (node.get('metainfo') or {}).get('classes')
    if isinstance(classes, str) and not os.path.isfile(classes):
        raise ValueError(f'{path}.metainfo.classes is the text {classes!r}; one class needs a comma: ({classes!r},)')
    remote = node.get('backend_args') or 'download' in node or type_name(node) in DOWNLOADED
    if not isinstance(root, str) or '://' in root or remote:
        return
    if root and not os.path.isdir(root):
        raise FileNotFoundError(f'{path}.data_root: there is no folder {root}')
    if isinstance(listed, str) and listed and not os.path.exists(os.path.join(root, listed)):
        raise FileNotFoundError(f'{path}.ann_file: there is no file {os.path.join(root, listed)}')
