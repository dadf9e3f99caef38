"""What the numbers of a checkpoint mean to a RefConv layer: the key says it, whatever the layer was trained with."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from . import functional as RF
from .errors import LoadError

# Name of the trained parameter by form and `identity`, and with the basis `Wb` the kernel that it means:
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
    """Puts what a checkpoint holds for a layer under the name that the layer trains, with the same kernel; in place.

    Args:
        state: the state dict that is being loaded.
        prefix: of the layer's keys.
        form: of the layer, `'update'`, `'explicit'` or `'plain'`.
        identity: the layer's option.
        geo: the layer's geometry; None for an ordinary convolution.

    Raises:
        LoadError: the layer cannot hold this kernel, or the basis is missing; says why.
    """
    where, basis = prefix[:-1] or 'the layer', state.get(prefix + 'weight')
    found = [name for name in KEYS if prefix + name in state]
    if not found:
        if geo is not None and isinstance(basis, nn.Parameter):
            state[prefix + 'weight'] = basis.detach()  # assigned, it would make the layer ordinary
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
            f'{where}: {name} is a map of the compact form, which ended with 0.1; fuse it with that version'
        )
    if name == TRAINED['update', True] and stored.ndim == 4 and basis is not None and stored.shape != basis.shape:
        name = TRAINED['explicit', True]  # an explicit map was called so in 0.1
    own = TRAINED[form, identity]
    if name != own:
        stored = _translate(stored, basis, name, own, geo, where)
    state[prefix + own] = stored


def _translate(stored: Tensor, basis: Tensor | None, name: str, own: str, geo: RF.Geometry, where: str) -> Tensor:
    if own.startswith(TRAINED['explicit', True]):
        raise LoadError(
            f"{where}: the checkpoint holds {name}, from which no explicit map follows; load it with form='update'"
            + (' and identity=False' if name.endswith('alone') else '')
        )
    if basis is None:
        raise LoadError(f'{where}: the checkpoint has {name} without the basis that it belongs to')
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
