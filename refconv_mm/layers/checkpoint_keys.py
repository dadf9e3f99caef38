"""The keys of RefConv layers in checkpoints. A key says what its numbers mean; `root` beside it gives the kernel."""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .options import RefConvOptions
from .transformation import coordinates, has_values, make_roots, shapes

# The trained parameter by whether it is a map, and by `identity`.
TRAINED = {
    (False, True): 'refocus',  # Wb + V A
    (False, False): 'refocus_alone',  # V A
    (True, True): 'refocus_map',  # Wb + s F(Wb)
    (True, False): 'refocus_map_alone',  # s F(Wb)
}
RELEASED = 'convmap.weight'  # Wb + F(Wb), in the released code
KEYS = (*TRAINED.values(), RELEASED)
logger = logging.getLogger(__name__)


class LoadError(ValueError, RuntimeError):
    """A checkpoint that a RefConv layer refuses. Callers of `load_state_dict` catch RuntimeErrors."""


def adopt_stored(state: dict[str, Any], prefix: str, own: nn.Parameter, groups: int, options: RefConvOptions) -> str:
    """Converts what a checkpoint stores for a layer into what the layer trains, in place; the kernel is the same.

    Args:
        state: the state dict that is being loaded.
        prefix: of the layer's keys.
        own: the layer's trained parameter.

    Returns:
        `'refocused checkpoint'`; `'plain checkpoint'`, whose kernel becomes the basis; or `''` for neither.

    Raises:
        LoadError: the layer cannot hold this kernel, or the checkpoint lacks a part of it.
    """
    where, basis, root = prefix[:-1] or 'the layer', state.get(prefix + 'weight'), state.get(prefix + 'root')
    found = [name for name in KEYS if prefix + name in state]
    if not found:
        return 'plain checkpoint' if basis is not None else ''
    name, stored = found[0], state[prefix + found[0]]
    is_map, identity = name.startswith('refocus_map') or name == RELEASED, not name.endswith('alone')
    if basis is None:
        raise LoadError(f'{where}: the checkpoint has {name} without the basis of the layer')
    if root is None and not is_map:
        raise LoadError(
            f'{where}: the checkpoint has {name} without root, as version 0.2 wrote it: fuse it with version 0.2 '
            '(refconv fuse CONFIG CKPT) and start from fused.pth'
        )
    if identity != options.identity:
        raise LoadError(f'{where}: the checkpoint was trained with identity={identity}: set it in the config')
    if root is not None and has_values(root) and not root.any() and not stored.any():  # of an unfilled layer
        del state[prefix + name], state[prefix + 'root']
        return 'plain checkpoint'
    key = TRAINED[not shapes(basis, groups, options.map_k)[1], identity]
    if key == name and root is not None and stored.shape == own.shape:
        _warn_of_other_options(where, root, basis, groups, options)
    elif is_map:
        exact = stored.detach().cpu().double() * (1 if root is None or root.ndim else root.item())
        del state[prefix + name]
        state[prefix + key], state[prefix + 'root'] = _converted(where, exact, basis, groups, options)
    elif key.startswith('refocus_map'):
        raise LoadError(
            f'{where}: the checkpoint has no map, which map_k={options.map_k} wants: set the map_k of its run'
        )
    return 'refocused checkpoint'


def _converted(
    where: str, kernel_map: Tensor, basis: Tensor, groups: int, options: RefConvOptions
) -> tuple[Tensor, Tensor]:
    """The trained parameter and the root for a map of any size that the layer can hold."""
    slices, map_k = len(basis) * basis.shape[1], kernel_map.shape[-1]
    if kernel_map.shape != (slices, groups, map_k, map_k):
        raise LoadError(f'{where}: a map of shape {tuple(kernel_map.shape)} belongs to another layer')
    room = options.map_k - map_k
    if not shapes(basis, groups, min(map_k, options.map_k))[1]:
        if room < 0:
            raise LoadError(f'{where}: the checkpoint has a map of side {map_k}: set map_k={map_k}')
        kernel_map, map_k = F.pad(kernel_map, [room // 2] * 4), options.map_k
    root, inverse = make_roots(basis, groups, map_k, options.gain)
    return coordinates(kernel_map, basis, inverse).to(basis), root.to(basis)


def _warn_of_other_options(where: str, root: Tensor, basis: Tensor, groups: int, options: RefConvOptions) -> None:
    stored, ours = root.detach().double().cpu(), make_roots(basis, groups, options.map_k, options.gain)[0]
    # Roots are stored in the dtype of the layer, at least bfloat16.
    if has_values(root) and not torch.allclose(stored, ours, 2**-7, 2**-7 * ours.abs().max().item()):
        gains = [
            f'{each.square().sum(-1).mean().item():.4g}' for each in (stored, ours)
        ]  # means of the diagonal of A'A
        logger.warning(
            f'{where}: the checkpoint was trained with a root of gain {gains[0]}, that of the config (gain='
            f'{options.gain}, map_k={options.map_k}) has {gains[1]}; that of the checkpoint counts'
        )
