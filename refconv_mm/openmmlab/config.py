"""Configs: whether a config is refocused, and the plain config of a refocused one."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS

from ..surgery.conv_types import PLAIN_NAMES, plain_conv_cfg, type_name

BUILDER = ('RefocusedBackbone', 'build_refocused_backbone')
OURS = 'refconv_mm'


def is_refocused_config(cfg: Config | dict) -> bool:
    """Whether the model of a config contains `conv_cfg=dict(type='RefConv')` or `RefocusedBackbone`."""
    return any(type_name(node) in (*PLAIN_NAMES, *BUILDER) for node in dicts_in(cfg.get('model')))


def plain_config(cfg: Config) -> Config:
    """The config of the fused model. It does not name refconv_mm, so it runs where that is not installed.

    Every `conv_cfg=dict(type='RefConv')` becomes None: without the key, a default could apply that the layer never
    had. `RefConvAdaptivePadding` becomes `Conv2dAdaptivePadding`. `RefocusedBackbone` is replaced by the backbone in
    it. Hooks that this package defines and its import are removed.

    Args:
        cfg: any config; it is not changed.

    Returns:
        A new config.

    Raises:
        ValueError: the config needs another class of this package, a data set or a transform.
    """
    new = copy.deepcopy(cfg._cfg_dict.to_dict())
    new = _plain({key: value for key, value in new.items() if not _imported(key, value)})
    if (hooks := new.pop('custom_hooks', None)) and (kept := [hook for hook in hooks if not _is_ours(hook)]):
        new['custom_hooks'] = kept
    if hooks := new.get('default_hooks'):
        new['default_hooks'] = {name: hook for name, hook in hooks.items() if not _is_ours(hook)}
    if imports := new.pop('custom_imports', None):
        names = [imports['imports']] if isinstance(imports['imports'], str) else imports['imports']
        if kept := [name for name in names if name.split('.')[0] != OURS]:
            new['custom_imports'] = {**imports, 'imports': kept}
    if left := sorted({type_name(node) for node in dicts_in(new) if _is_ours(node)}):
        raise ValueError(f'the plain config would still need refconv_mm: {", ".join(left)} is defined there')
    return Config(new)


def dicts_in(node: Any) -> Iterator[dict]:
    """Every dict inside a config, the outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from dicts_in(value)


def drop_pretrained(model: dict) -> None:
    """Removes `Pretrained` initialisation from a model config, in place."""
    for node in dicts_in(model):
        if node.get('pretrained'):
            node['pretrained'] = False if node['pretrained'] is True else None
        if node.get('checkpoint_path'):  # of timm's models
            node['checkpoint_path'] = ''
        init = node.get('init_cfg')
        if type_name(init) in ('Pretrained', 'PretrainedInit'):
            node['init_cfg'] = None
        elif isinstance(init, list | tuple):
            node['init_cfg'] = [item for item in init if type_name(item) not in ('Pretrained', 'PretrainedInit')]


def without_run(cfg: Config) -> Config:
    """A config without the settings of one run: launcher, start and work dir."""
    new = copy.deepcopy(cfg)
    new.launcher, new.load_from, new.resume = 'none', None, False
    drop_pretrained(new.model)
    new.pop('work_dir', None)
    if (new.get('model_wrapper_cfg') or {}).get('device_ids', 0) is None:  # of a run without a GPU
        new.pop('model_wrapper_cfg')
    return new


def _imported(key: str, value: Any) -> bool:
    """Whether a value is an object that a new-style config imported, or its dotted name."""
    if isinstance(value, str):
        return value.endswith(f'.{key}')
    return inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value)


def _is_ours(cfg: Any) -> bool:
    """Whether this package defines the class that a config dict names."""
    kind = cfg.get('type') if isinstance(cfg, dict) else None
    if not isinstance(kind, str):
        return getattr(kind, '__module__', '').split('.')[0] == OURS
    if '.' in kind and kind.split('.')[0] == OURS:
        return True
    found = (registry.module_dict.get(type_name(cfg)) for registry in (HOOKS, DATASETS, TRANSFORMS, MODELS))
    return any(getattr(each, '__module__', '').split('.')[0] == OURS for each in found)


def _plain(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(_plain(value) for value in node)
    if inspect.isclass(node) or inspect.isfunction(node):
        return f'{node.__module__}.{node.__qualname__}'  # new-style configs; a file can only hold the name
    if not isinstance(node, dict):
        return node
    if type_name(node) in BUILDER:
        extra = {key: node[key] for key in ('pretrained', 'init_cfg') if node.get(key) is not None}
        return _plain({**node['backbone'], **extra})
    if type_name(node) in PLAIN_NAMES:
        return plain_conv_cfg(node)
    return {key: _plain(value) for key, value in node.items()}
