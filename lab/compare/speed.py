"""Learning rates from the Gram matrices of the kernels: the speed of refocusing without its directions.

Refocusing fine-tunes a kernel with its gradient multiplied by the Gram matrix `U'U` of the layer. A refocused kernel
moves faster than a plain one by the mean of the matrix's diagonal.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from refconv_mm.checkpoints.fusing import build_model, read_checkpoint
from refconv_mm.layers.transformation import gain_scale
from refconv_mm.openmmlab.config import is_refocused_config
from refconv_mm.surgery import named_refconvs


def gram_diagonals(cfg: Config, start: str) -> dict[str, float]:
    """The mean Gram diagonal of each layer that a config refocuses, for the bases of a checkpoint.

    Args:
        cfg: a refocused config.
        start: a plain checkpoint of its model.

    Returns:
        Means by name of the layer; with a `gain` in the config, all of them are the gain.

    Raises:
        ValueError: the checkpoint lacks the kernel of a layer.
    """
    model, state = build_model(cfg), read_checkpoint(start)['state_dict']
    found = {}
    for name, layer in named_refconvs(model):
        basis = state.get(f'{name}.weight')
        if basis is None or basis.shape != layer.basis.shape:
            raise ValueError(f'{start} has no kernel {name}.weight of shape {tuple(layer.basis.shape)}')
        found[name] = layer.options.gain or gain_scale(basis, layer.groups, layer.options.map_k, 1.0) ** -2
    return found


def set_speed(cfg: Config, like: Config, start: str, where: str) -> None:
    """Multiplies the learning rates of kernels by the speed that refocusing would give them, in place.

    The decay of a step, which is the learning rate times the weight decay, stays the same.

    Args:
        cfg: the plain config of the run.
        like: the refocused config that decides the layers and `map_k`.
        start: the checkpoint that both start from.
        where: the place that an error message names.

    Raises:
        ValueError: `cfg` is refocused, or `like` is plain.
    """
    if is_refocused_config(cfg) or not is_refocused_config(like):
        raise ValueError(f'{where}: speed must name a refocused arm and stand in a plain one')
    cfg.setdefault('optim_wrapper', {})
    paramwise: dict[str, Any] = cfg.optim_wrapper.get('paramwise_cfg') or {}
    known = dict(paramwise.get('custom_keys') or {})
    keys = dict(known)
    for name, mean in gram_diagonals(like, start).items():
        key = f'{name}.weight'
        own = _own(known, key)
        decay = own.get('decay_mult', paramwise.get('dwconv_decay_mult', 1.0))
        keys[key] = dict(own, lr_mult=own.get('lr_mult', 1.0) * mean, decay_mult=decay / mean)
    cfg.optim_wrapper.paramwise_cfg = dict(paramwise, custom_keys=keys)


def _own(keys: dict[str, dict], name: str) -> dict:
    """The options that mmengine's constructor applies to a parameter: those of the longest key in its name."""
    matching = sorted((key for key in keys if key in name), key=lambda key: (-len(key), key))
    return dict(keys[matching[0]]) if matching else {}
