"""The options of a RefConv layer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

KINDS = ('depthwise', 'grouped', 'dense')
# The value of `identity` that an initialization needs; None where both are possible.
INITS = {'zero': True, 'kaiming': None, 'dirac': False}


@dataclass(frozen=True)
class RefConvOptions:
    """The options of `conv_cfg=dict(type='RefConv', ...)`, `refocus` and `RefocusedBackbone`.

    The defaults are what we recommend. The paper's are `gain=None, kinds=['depthwise', 'grouped', 'dense']`, with
    `init='kaiming'` in its released code.

    Args:
        map_k: side `m` of the map, odd, at most the kernel's longer side.
        gain: speed of a refocused kernel against a plain one at the same learning rate: the mean diagonal that the Gram
            matrices are scaled to. None leaves them as they are.
        kinds: the layers to refocus, one or several of `'depthwise'`, `'grouped'`, `'dense'`.
        init: initialization of the map. `'zero'`: the kernel is the basis. `'kaiming'`: random, which changes the
            kernel. `'dirac'`: the identity map, for `identity=False`.
        identity: False leaves out the `Wb +` term.

    Raises:
        TypeError, ValueError: a value of a wrong type, or none of those above.
    """

    map_k: int = 3
    gain: float | None = 1.0
    kinds: str | Sequence[str] = ('depthwise', 'grouped')
    init: str = 'zero'
    identity: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.map_k, int) or isinstance(self.map_k, bool):
            raise TypeError(f'map_k must be an int, got {self.map_k!r}')
        if self.map_k < 1 or self.map_k % 2 == 0:
            raise ValueError(f'map_k must be odd and at least 1, got {self.map_k}: an even map has no centre')
        if self.gain is not None and (isinstance(self.gain, bool) or not isinstance(self.gain, int | float)):
            raise TypeError(f'gain must be None or a number, got {self.gain!r}')
        if self.gain is not None and not 0 < self.gain < float('inf'):
            raise ValueError(f'gain must be positive and finite, got {self.gain!r}')
        object.__setattr__(self, 'kinds', _checked_kinds(self.kinds))
        if self.init not in INITS:
            raise ValueError(f'init must be one of {tuple(INITS)}, got {self.init!r}')
        if INITS[self.init] not in (None, self.identity):
            effect = 'double' if self.identity else 'erase'
            fitting = [name for name, identity in INITS.items() if identity in (None, self.identity)]
            raise ValueError(
                f'identity={self.identity} with init={self.init!r} would {effect} the kernel; use one of {fitting}'
            )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> RefConvOptions:
        """Makes options by name; raises a TypeError that lists the known names for an unknown one."""
        known = [field.name for field in fields(cls)]
        for name in set(options) - set(known):
            went = ' (form went in version 0.3: the size of the kernel decides it)' if name == 'form' else ''
            raise TypeError(f'RefConv has no option {name!r}{went}; the options are {", ".join(known)}')
        return cls(**options)


def split_options(arguments: dict[str, Any], plain_type: type[nn.Conv2d]) -> tuple[RefConvOptions, dict[str, Any]]:
    """Splits keyword arguments into the options of a RefConv layer and the arguments of its plain class."""
    known = inspect.signature(plain_type.__init__).parameters
    rest = {name: value for name, value in arguments.items() if name in known}
    return RefConvOptions.of({name: value for name, value in arguments.items() if name not in known}), rest


def cannot_be_refocused(conv: nn.Conv2d, map_k: int) -> str | None:
    """Says why no map of this size fits a convolution; None if one does."""
    if conv.kernel_size == (1, 1):
        return 'pointwise: nothing to refocus'
    if map_k > max(conv.kernel_size):
        return f'kernel {conv.kernel_size} smaller than map_k={map_k}'
    if conv.weight.is_complex() or not conv.weight.numel():
        return 'its kernel is complex or has no numbers'
    return None


def kind_of(conv: nn.Conv2d) -> str:
    """Names a convolution: `'depthwise'` (as many groups as input channels), `'grouped'`, or `'dense'` (one group)."""
    if conv.groups == 1:
        return 'dense'
    return 'depthwise' if conv.groups == conv.in_channels else 'grouped'


def _checked_kinds(value: Any) -> tuple[str, ...]:
    kinds = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not all(isinstance(kind, str) for kind in kinds):
        raise TypeError(f'kinds must be one or several of {KINDS}, got {value!r}')
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f'kinds must be of {KINDS}, got {[kind for kind in kinds if kind not in KINDS]}')
    return kinds
