"""The keys of RefConv layers in checkpoints. A key says what its numbers mean; `root` beside it gives the kernel."""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import transformation as RF

# The kernels: Wb + V A; V A; Wb + s F(Wb); s F(Wb); and, in the released code, Wb + F(Wb).
KEYS = ('refocus', 'refocus_alone', 'refocus_map', 'refocus_map_alone', 'convmap.weight')


class LoadError(ValueError, RuntimeError):
    """A checkpoint that a RefConv layer refuses. Callers of `load_state_dict` catch RuntimeErrors."""


def adopt_stored(layer: Any, state: Any, prefix: str, assign: bool) -> str:
    """Converts a layer's part of a state dict, in place, into values that the layer trains; the kernel is the same.

    Returns:
        `'refocused checkpoint'`; `'plain checkpoint'`, whose kernel became the basis; or `''`, without one that fits.

    Raises:
        LoadError: the layer cannot hold this kernel, or the checkpoint lacks a part of it.
    """
    basis, root, where = state.get(prefix + 'weight'), state.get(prefix + 'root'), prefix[:-1] or 'the layer'
    if basis is None or basis.shape != layer.basis.shape:
        return ''
    basis = state[prefix + 'weight'] = basis.detach().to(basis.dtype if assign else layer.basis.dtype)
    key, groups, map_k, gain = layer.trained_name, layer.groups, layer.options.map_k, layer.options.gain
    name = next((each for each in KEYS if prefix + each in state), '')
    stored, is_map, identity = state.get(prefix + name), 'map' in name, not name.endswith('alone')
    if not name or (root is not None and RF.has_values(root) and not root.any() and not stored.any()):
        state.pop(prefix + name, None)  # of a layer that nothing had filled
        state[prefix + key], state[prefix + 'root'] = RF.initial_values(basis, groups, layer.options)
        return 'plain checkpoint'
    if root is None and not is_map:
        raise LoadError(f'{where}: {name} without root, as version 0.2 wrote it: fuse the file with version 0.2 first')
    if identity != layer.options.identity:
        raise LoadError(f'{where}: the checkpoint was trained with identity={identity}: set it in the config')
    if 'map' in key and not is_map:
        raise LoadError(f'{where}: the checkpoint has no map, which map_k={map_k} wants: set the map_k of its run')
    if is_map and (name != key or root is None or stored.shape != layer.trained.shape):
        if stored.shape[:2] != (basis.shape[0] * basis.shape[1], groups):
            raise LoadError(f'{where}: a map of shape {tuple(stored.shape)} belongs to another layer')
        kernel_map = state.pop(prefix + name).detach().cpu().double() * (1 if root is None else root.item())
        if not RF.shapes(basis, groups, min(stored.shape[-1], map_k))[1]:  # a map trains, of the layer's own size
            if stored.shape[-1] > map_k:
                raise LoadError(f'{where}: the checkpoint has a map of side {stored.shape[-1]}: set map_k to that')
            kernel_map = F.pad(kernel_map, [(map_k - stored.shape[-1]) // 2] * 4)
        state[prefix + key], state[prefix + 'root'] = RF.values_of(kernel_map, basis, groups, gain)
    elif RF.has_values(root):
        _warn_of_other_options(where, root, basis, layer)
    return 'refocused checkpoint'


def _warn_of_other_options(where: str, root: Tensor, basis: Tensor, layer: Any) -> None:
    """Compares the diagonals of `A'A`, averaged over the groups; beside a map, `s` squared times that of `U'U`."""
    theirs, options = root.detach().cpu().double().square(), layer.options
    ours = RF.mean_diagonal(basis, layer.groups, options.map_k)
    theirs = theirs.sum(-1).mean(0) if root.ndim else theirs * ours
    ours = ours * RF.gain_scale(basis, layer.groups, options.map_k, options.gain) ** 2
    if not torch.allclose(theirs, ours, 2**-6):  # roots are stored in the dtype of the layer, at least bfloat16
        logging.getLogger(__name__).warning(
            f'{where}: the checkpoint was trained with a root of gain {theirs.mean():.4g}, that of the config (gain='
            f'{options.gain}, map_k={options.map_k}) has {ours.mean():.4g}; that of the checkpoint counts'
        )
