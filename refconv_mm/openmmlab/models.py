"""Models: built from configs with random weights, and loaded strictly."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from ..files.errors import CheckpointError
from . import compat
from .config import drop_pretrained
from .layers import check_padding


def unwrapped(model: nn.Module) -> nn.Module:
    """Returns the model inside a wrapper such as DDP."""
    return model.module if is_model_wrapper(model) else model


def build_model(cfg: Config) -> nn.Module:
    """Builds the model of a config in eval mode, with random weights; downloads and loads nothing."""
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    # A copy: mmseg's segmentors write into their config, and building from it again would fail.
    model_cfg = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:  # as mmengine's Runner does
        model_cfg.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    drop_pretrained(model_cfg)
    model = MODELS.build(model_cfg)
    check_padding(model)
    compat.prepare()
    model.eval()  # OpenMMLab's backbones return nothing here
    return model


def load_whole(model: nn.Module, state_dict: dict[str, Tensor], what: str) -> None:
    """Loads a state dict that must fit a model exactly.

    Args:
        what: the name of the state dict in error messages.

    Raises:
        CheckpointError: the state dict belongs to another model; the message lists the keys that do not fit.
    """
    model, state = unwrapped(model), copy.copy(state_dict)
    own = model.state_dict()
    for key in own:
        if key.endswith('num_batches_tracked') and key not in state:  # absent from converted weights; unused
            state[key] = own[key]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = '\n  '.join(line if len(line) < 400 else line[:400] + ' ...' for line in lines[:8])
        raise CheckpointError(f'{what} does not fit the model of the config:\n  {detail}') from error


def normalization(preprocessor: nn.Module | None) -> dict[str, Any]:
    """The mean and std that a data preprocessor normalises with (None for none), and the order of channels it makes."""
    found: dict[str, Any] = {}
    for name in ('mean', 'std'):  # seven digits, as many as float32 holds
        values = getattr(preprocessor, name, None)
        found[name] = None if values is None else [float(f'{value:.7g}') for value in values.flatten().tolist()]
    # The three libraries' names for the same switch, from BGR to RGB.
    switches = ('_channel_conversion', 'channel_conversion', 'to_rgb')
    return dict(found, channels='RGB' if any(getattr(preprocessor, name, False) for name in switches) else 'BGR')


def build_in_scope(config: Mapping[str, Any], more: Mapping[str, Any]) -> nn.Module:
    """Builds a module that another builder wraps, with options that are not None.

    In the current scope, so that a type without a scope is found in the library of the user's config.
    """
    given = {key: value for key, value in more.items() if value is not None}
    with MODELS.switch_scope_and_registry(None) as registry:
        model: nn.Module = registry.build({**config, **given})
    return model
