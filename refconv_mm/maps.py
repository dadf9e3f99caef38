"""Maps and their options: what is allowed, and what a stored map means to a layer that loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import functional as RF


class LoadError(ValueError, RuntimeError):
    """A checkpoint that a layer refuses.

    A ValueError, as all errors of ours that the user can mend, and a RuntimeError, because that is what
    callers of `load_state_dict` catch.
    """


def check_options(map_k: int, init: str, identity: bool, form: str, gain: float | None) -> None:
    """Raises what `RefConv2d` documents; shared with whoever passes the options on before building layers."""
    RF.check_map_k(map_k)
    if form not in RF.FORMS:
        raise ValueError(f'form must be one of {RF.FORMS}, got {form!r}')
    if init not in RF.INITS:
        raise ValueError(f'init must be one of {RF.INITS}, got {init!r}')
    if gain is not None:
        if isinstance(gain, bool) or not isinstance(gain, int | float):
            raise TypeError(f'gain must be None or a number, got {gain!r}')
        if not 0 < gain < float('inf'):
            raise ValueError(f'gain must be positive and finite, got {gain!r}')
    if not identity and init == 'zero':
        raise ValueError("identity=False with init='zero' would erase the kernel; use init='dirac' (or 'kaiming')")


def scale_of(basis: Tensor, geo: RF.Geometry, gain: float | None) -> float:
    """The factor on the transformation: 1 without a gain."""
    return 1.0 if gain is None else RF.gain_scale(basis, geo, gain)


def adopt_map(
    stored: Tensor,
    basis: Tensor | None,
    options: Mapping[str, Any],
    own: Mapping[str, Any],
    own_basis: Tensor,
    geo: RF.Geometry,
    where: str,
) -> Tensor:
    """A stored map as a layer of another form or gain holds it, with the same kernel.

    Args:
        stored: `(n, g, m, m)` or `(n, r)`.
        basis: the basis that it was trained on, as stored beside it.
        options: `map_k`, `identity`, `gain` that it was trained with; those that are not known are taken to
            be the layer's.
        own: the layer's `map_k`, `identity`, `gain` and `form`.
        own_basis: of the shape and dtype that the layer holds.
        geo: the layer's geometry.
        where: name of the layer, for messages.

    Raises:
        LoadError: the map means a kernel that this layer can't hold, or its basis is missing; says why.
    """
    form = 'explicit' if stored.ndim == 4 else 'compact'
    options = {**own, **options}
    if stored.ndim == 4:
        options['map_k'] = stored.shape[-1]
    for name in ('map_k', 'identity'):
        if options[name] != own[name]:
            raise LoadError(
                f'{where}: the checkpoint was trained with {name}={options[name]}, this layer has {name}={own[name]}, '
                f'and the two compute different kernels from one map; set {name}={options[name]} in the RefConv options'
            )
    if tuple(stored.shape) != geo.map_shape(form):
        raise LoadError(
            f'{where}: a map of shape {tuple(stored.shape)} belongs to another layer; expected '
            f'{geo.map_shape("explicit")} (explicit) or {geo.map_shape("compact")} (compact)'
        )
    gain = options['gain']
    if form == own['form'] and gain == own['gain']:
        return stored
    if basis is None or basis.shape != own_basis.shape or not torch.isfinite(basis).all():
        raise LoadError(
            f'{where}: turning the {form} map (gain {gain}) into the {own["form"]} form (gain {own["gain"]}) takes the '
            'finite basis it was trained on, and the checkpoint has none for this layer'
        )
    basis = basis.detach().to(own_basis.dtype)  # as the layer will hold it: a float32 layer factors the rounded basis
    converted = stored.detach().to(basis.device, torch.float64)
    if form != own['form']:
        _, q = RF.compact_factor(basis, geo)
        turn = RF.compact_from_explicit if form == 'explicit' else RF.explicit_from_compact
        converted = turn(converted, q, geo)
    converted = converted * (scale_of(basis, geo, gain) / scale_of(basis, geo, own['gain']))
    return converted.to(own_basis.dtype)
