"""How the layers of a checkpoint are, or would be, refocused: groups, `map_k` and gain."""

from __future__ import annotations

from mmengine.config import Config
from torch import Tensor

from .. import functional as RF
from ..checkpoint import build_model
from ..surgery import named_refconvs


def settings_of(cfg: Config | None) -> dict[str, tuple[int, int, float | None]]:
    """Groups, map_k and gain of every RefConv layer of a config's model, by name; nothing without a config.

    Raises:
        ValueError: the config has no RefConv layer.
    """
    if cfg is None:
        return {}
    layers = named_refconvs(build_model(cfg))
    if not layers:
        raise ValueError('--config is plain and says nothing of refocusing: pass the refocused one, or none')
    return {
        # With scope='layer' all slices are one group.
        name: (layer.geometry.slices if layer.options.scope == 'layer' else layer.groups, layer.options.map_k,
               layer.options.gain)
        for name, layer in layers
    }  # fmt: skip


def layer_settings(
    kernel: Tensor, known: tuple[int, int, float | None] | None, map_k: int
) -> tuple[RF.Geometry, float | None]:
    """Geometry and gain of a layer; guessed from the shape where no config knows it: depthwise or dense."""
    groups, side, gain = known or (len(kernel) if kernel.shape[1] == 1 else 1, map_k, None)
    if known is None:
        longer = max(kernel.shape[2:])
        side = min(side, longer - (longer + 1) % 2)  # the largest odd side that fits
    return RF.geometry(kernel.shape, groups, side), gain
