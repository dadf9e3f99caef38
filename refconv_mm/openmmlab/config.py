"""Configs: whether a config is refocused, and the plain config of a refocused one."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from mmengine.config import Config, ConfigDict

from ..surgery.conv_types import PLAIN_NAMES, plain_conv_cfg, type_name

BUILDER = ('RefocusedBackbone', 'build_refocused_backbone')
HOOKS = ('RefConvHook', 'RefConvStartHook', 'RefConvFiniteHook')
# Imports that plain configs keep, for types that those of configs/cifar10 and configs/own name.
PLAIN_TOO = (
    'lab.nets.small_image_backbone',
    'lab.nets.small_images',
    'refconv_mm.data.layouts',
    'lab.compare',  # of version 0.1
)


def is_refocused_config(cfg: Config | dict) -> bool:
    """Whether the model of a config contains `conv_cfg=dict(type='RefConv')` or `RefocusedBackbone`."""
    return _mentions(cfg.get('model', {}))


def plain_config(cfg: Config) -> Config:
    """The config of the fused model. It does not name refconv_mm, so it runs where that is not installed.

    Every `conv_cfg=dict(type='RefConv')` becomes None: without the key, a default could apply that the layer never
    had. `RefConvAdaptivePadding` becomes `Conv2dAdaptivePadding`. `RefocusedBackbone` is replaced by the backbone that it wraps. Our hooks and the import are removed.

    Args:
        cfg: any config; it is not changed.

    Returns:
        A new config.
    """
    new = copy.deepcopy(cfg._cfg_dict.to_dict())
    new = _plain({key: value for key, value in new.items() if not _imported(key, value)})
    if (hooks := new.pop('custom_hooks', None)) and (kept := [hook for hook in hooks if type_name(hook) not in HOOKS]):
        new['custom_hooks'] = kept
    if hooks := new.get('default_hooks'):
        new['default_hooks'] = {name: hook for name, hook in hooks.items() if type_name(hook) not in HOOKS}
    imports = new.get('custom_imports')
    if imports:
        names = imports['imports']
        names = [names] if isinstance(names, str) else names
        kept = [name for name in names if name.split('.')[0] != 'refconv_mm' or name in PLAIN_TOO]
        if kept:
            imports['imports'] = kept
        else:
            del new['custom_imports']
    return Config(new)


def drop_pretrained(node: Any) -> None:
    """Removes `Pretrained` initialisation from a model config, in place."""
    if isinstance(node, dict):
        if node.get('pretrained'):
            node['pretrained'] = False if node['pretrained'] is True else None
        if node.get('checkpoint_path'):  # of timm's models
            node['checkpoint_path'] = ''
        init = node.get('init_cfg')
        if type_name(init) in ('Pretrained', 'PretrainedInit'):
            node['init_cfg'] = None
        elif isinstance(init, list | tuple):
            node['init_cfg'] = [item for item in init if type_name(item) not in ('Pretrained', 'PretrainedInit')]
        for value in node.values():
            drop_pretrained(value)
    elif isinstance(node, list | tuple):
        for value in node:
            drop_pretrained(value)


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


def _mentions(node: Any) -> bool:
    if type_name(node) in (*PLAIN_NAMES, *BUILDER):
        return True
    if isinstance(node, dict | ConfigDict):
        return any(_mentions(value) for value in node.values())
    return isinstance(node, list | tuple) and any(_mentions(value) for value in node)


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
