"""The trained parameters of RefConv layers in checkpoints: the key names the form, so any layer can load any form."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from . import functional as RF
from .errors import LoadError

# The name of the trained parameter by form and `identity`, and its kernel given the basis `Wb`:
#   refocus            Wb + D      the update
#   refocus_alone      D           without the identity
#   refocus_map        Wb + F(Wb)  the explicit map; the gain is inside it
#   refocus_map_alone  F(Wb)
TRAINED = {
    ('update', True): 'refocus',
    ('update', False): 'refocus_alone',
    ('explicit', True): 'refocus_map',
    ('explicit', False): 'refocus_map_alone',
}
RELEASED = 'convmap.weight'  # the explicit map, as the released code calls it
KEYS = (*TRAINED.values(), RELEASED)


def layer_of(key: str) -> str | None:
    """Name of the layer that a key's trained parameter belongs to; None for any other key."""
    for name in KEYS:
        if key == name or key.endswith('.' + name):
            return key.removesuffix(name).rstrip('.')
    return None


def is_refocused_state(state_dict: dict[str, Tensor]) -> bool:
    """Whether a state dict holds trained parameters of RefConv layers."""
    return any(layer_of(key) is not None for key in state_dict)


def without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes the prefix `module.` of DDP from the keys, as mmengine's loader does."""
    if not state or not all(key.startswith('module.') for key in state):
        return state
    stripped = OrderedDict((key.removeprefix('module.'), value) for key, value in state.items())
    metadata = getattr(state, '_metadata', {})
    stripped._metadata = OrderedDict(  # type: ignore[attr-defined]
        (key.removeprefix('module').removeprefix('.'), value) for key, value in metadata.items() if key
    )
    return stripped


def adopt_stored(state: dict[str, Any], prefix: str, form: str, identity: bool, geo: RF.Geometry | None) -> None:
    """Renames and converts the trained parameter that a checkpoint stores for a layer, in place.

    Afterwards it has the name and the form that the layer trains, and the kernel is the same.

    Args:
        state: the state dict that is being loaded.
        prefix: of the layer's keys.
        form: of the layer, `'update'`, `'explicit'` or `'plain'`.
        identity: the layer's option.
        geo: the layer's geometry; None for an ordinary convolution.

    Raises:
        LoadError: the layer cannot represent this kernel, or the basis is missing.
    """
    where, basis = prefix[:-1] or 'the layer', state.get(prefix + 'weight')
    found = [name for name in KEYS if prefix + name in state]
    if not found:
        if geo is not None and isinstance(basis, nn.Parameter):
            state[prefix + 'weight'] = basis.detach()  # an assigned parameter would make the layer ordinary
        return
    if geo is None:
        raise LoadError(
            f'{where}: the checkpoint holds {found[0]} for this layer, which is an ordinary convolution here'
        )
    if isinstance(basis, nn.Parameter):
        basis = state[prefix + 'weight'] = basis.detach()
    stored = state.pop(prefix + found[0])
    name = TRAINED['explicit', True] if found[0] == RELEASED else found[0]
    if stored.ndim == 2:
        raise LoadError(
            f'{where}: {name} is a map of the compact form, which version 0.1 had; fuse the checkpoint with version 0.1'
        )
    if name == TRAINED['update', True] and stored.ndim == 4 and basis is not None and stored.shape != basis.shape:
        name = TRAINED['explicit', True]  # the name of an explicit map in version 0.1
    own = TRAINED[form, identity]
    if name != own:
        stored = _translate(stored, basis, name, own, geo, where)
    state[prefix + own] = stored


def _translate(stored: Tensor, basis: Tensor | None, name: str, own: str, geo: RF.Geometry, where: str) -> Tensor:
    if own.startswith(TRAINED['explicit', True]):
        raise LoadError(
            f"{where}: the checkpoint holds {name}, which has no explicit map; load it with form='update'"
            + (' and identity=False' if name.endswith('alone') else '')
        )
    if basis is None:
        raise LoadError(f'{where}: the checkpoint has {name} without the basis of the layer')
    exact = basis.double()
    if name.startswith(TRAINED['explicit', True]):
        if stored.shape[:2] != geo.map_shape[:2]:
            raise LoadError(f'{where}: {name} of shape {tuple(stored.shape)} belongs to another layer than {geo}')
        kernel = RF.explicit_update(exact, stored.detach().double(), geo.groups).view(basis.shape)
    else:
        kernel = stored.detach().double()
    if not name.endswith('alone'):
        kernel = kernel + exact
    return (kernel if own.endswith('alone') else kernel - exact).to(stored.dtype)
