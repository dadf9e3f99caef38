"""The speed of refocusing without its directions: learning rates from the Gram matrices of the kernels.

Refocusing is fine-tuning of the kernel with its gradient multiplied by the Gram matrix `U'U` of the layer. The
mean of its diagonal is how many times faster than a plain kernel a refocused one moves.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from ..checkpoint import build_model, read_checkpoint
from ..config import is_refocused_config
from ..functional import mean_diagonal
from ..surgery import named_refconvs


def gram_diagonals(cfg: Config, start: str) -> dict[str, float]:
    """The mean Gram diagonal of each layer that a config refocuses, for the bases of a checkpoint.

    Args:
        cfg: a refocused config.
        start: a plain checkpoint of its model.

    Returns:
        Means by name of the layer; where the config sets a `gain`, that is what they are.

    Raises:
        ValueError: the checkpoint lacks the kernel of a layer.
    """
    model, state = build_model(cfg), read_checkpoint(start)['state_dict']
    found = {}
    for name, layer in named_refconvs(model):
        basis = state.get(f'{name}.weight')
        if basis is None or basis.shape != layer.basis.shape:
            raise ValueError(f'{start} has no kernel {name}.weight of shape {tuple(layer.basis.shape)}')
        options = layer.options
        found[name] = options.gain or mean_diagonal(basis, layer.geometry, options.scope)
    return found


def set_speed(cfg: Config, like: Config, start: str, where: str) -> None:
    """Multiplies the learning rates of kernels, in place, by the speed that refocusing would give them.

    The weight decay of a step is the learning rate times the decay; it is left what it was.

    Args:
        cfg: the config of the run, plain or refocused; the trained part of each kernel gets the factor.
        like: the refocused config whose layers and `map_k` count.
        start: the checkpoint that both start from.
        where: for messages.

    Raises:
        ValueError: `like` is plain.
    """
    if not is_refocused_config(like):
        raise ValueError(f'{where}: speed must name a refocused arm')
    cfg.setdefault('optim_wrapper', {})
    paramwise: dict[str, Any] = cfg.optim_wrapper.get('paramwise_cfg') or {}
    known = dict(paramwise.get('custom_keys') or {})
    ending = 'refocus' if is_refocused_config(cfg) else 'weight'
    keys = dict(known)
    for name, mean in gram_diagonals(like, start).items():
        key = f'{name}.{ending}'
        own = _own(known, key)
        decay = own.get('decay_mult', paramwise.get('dwconv_decay_mult', 1.0) if ending == 'weight' else 1.0)
        keys[key] = dict(own, lr_mult=own.get('lr_mult', 1.0) * mean, decay_mult=decay / mean)
    cfg.optim_wrapper.paramwise_cfg = dict(paramwise, custom_keys=keys)


def _own(keys: dict[str, dict], name: str) -> dict:
    """What mmengine's constructor takes for a parameter: the longest key that its name contains."""
    matching = sorted((key for key in keys if key in name), key=lambda key: (-len(key), key))
    return dict(keys[matching[0]]) if matching else {}
