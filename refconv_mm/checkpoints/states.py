"""State dicts of models with RefConv layers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ..files.errors import CheckpointError
from ..layers import RefConv2d
from ..layers.checkpoint_keys import KEYS
from ..surgery import named_refconvs


def refocused_layers(state_dict: Iterable[str]) -> set[str]:
    """Names the layers whose trained parameters a state dict holds."""
    keys = (f'.{key.removeprefix("module.")}' for key in state_dict)
    return {key.removesuffix(name).strip('.') for key in keys for name in KEYS if key.endswith(f'.{name}')}


def is_refocused_state(state_dict: Iterable[str]) -> bool:
    """Whether a state dict holds trained parameters of RefConv layers."""
    return bool(refocused_layers(state_dict))


def is_random(layer: RefConv2d) -> bool:
    """Whether a layer has a random initialization that was neither trained nor loaded."""
    return layer.options.init == 'kaiming' and layer.source != 'refocused checkpoint'


def check_updates_are_taken(model: nn.Module, state_dict: Iterable[str], source: str) -> None:
    """Raises a CheckpointError if a checkpoint refocuses layers that are plain in the model.

    mmengine logs such keys as unexpected and would train or test the bare bases.
    """
    stored = refocused_layers(state_dict)
    if left := sorted(stored - {name for name, _ in named_refconvs(model)}):
        some = ', '.join(left[:3]) + (', ...' if len(left) > 3 else '')
        raise CheckpointError(
            f'{source} refocuses {len(stored)} layers, of which {len(left)} are plain in this model ({some}): their '
            'kernels would be loaded without their updates. Set conv_cfg (kinds, map_k) or RefocusedBackbone as in its '
            'run, or fuse it first (refconv fuse CONFIG CKPT) and start from fused.pth'
        )
