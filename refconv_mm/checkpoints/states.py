"""State dicts of models with RefConv layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from torch import Tensor, nn

from ..files.errors import CheckpointError
from ..layers.checkpoint_keys import KEYS
from ..surgery import named_refconvs


def layer_of(key: str) -> str | None:
    """Returns the name of the layer that a key's trained parameter belongs to; None for any other key."""
    for name in KEYS:
        if key == name or key.endswith('.' + name):
            return key.removesuffix(name).rstrip('.')
    return None


def is_refocused_state(state_dict: Iterable[str]) -> bool:
    """Whether a state dict holds trained parameters of RefConv layers."""
    return any(layer_of(key) is not None for key in state_dict)


def check_updates_are_taken(model: nn.Module, state_dict: Iterable[str], source: str) -> None:
    """Raises a CheckpointError if a checkpoint refocuses layers that are plain in the model.

    mmengine logs such keys as unexpected and would train or test the bare bases.
    """
    ours = {name for name, _ in named_refconvs(model)}
    stored = {layer for key in state_dict if (layer := layer_of(key.removeprefix('module.'))) is not None}
    if left := sorted(stored - ours):
        some = ', '.join(left[:3]) + (', ...' if len(left) > 3 else '')
        raise CheckpointError(
            f'{source} refocuses {len(stored)} layers, of which {len(left)} are plain in this model ({some}): their '
            'kernels would be loaded without their updates. Set conv_cfg (kinds, map_k) or RefocusedBackbone as in its '
            'run, or fuse it first (refconv fuse CONFIG CKPT) and start from fused.pth'
        )


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
