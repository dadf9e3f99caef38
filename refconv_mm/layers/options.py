"""The options of a RefConv layer."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

KINDS = ('depthwise', 'grouped', 'dense')
INITS = (('zero', True), ('kaiming', True), ('kaiming', False), ('dirac', False))  # init and identity


@dataclass(frozen=True)
class RefConvOptions:
    """The options of `conv_cfg=dict(type='RefConv', ...)`, `refocus` and `RefocusedBackbone`.

    The defaults are what we recommend. The paper's are `gain=None, kinds=['depthwise', 'grouped', 'dense']`, with
    `init='kaiming'` in its released code. Values other than those below are a ValueError.

    Args:
        map_k: side `m` of the map, odd, at most the kernel's longer side.
        gain: speed of a refocused kernel against a plain one at the same learning rate: the mean diagonal that the Gram
            matrices are scaled to. None leaves them as they are.
        kinds: the layers to refocus, one or several of `'depthwise'`, `'grouped'`, `'dense'`.
        init: initialization of the map. `'zero'`: the kernel is the basis. `'kaiming'`: random, which changes the
            kernel. `'dirac'`: the identity map, for `identity=False`.
        identity: False leaves out the `Wb +` term.
    """

    map_k: int = 3
    gain: float | None = 1.0
    kinds: str | Sequence[str] = ('depthwise', 'grouped')
    init: str = 'zero'
    identity: bool = True

    def __post_init__(self) -> None:
        if type(self.map_k) is not int or self.map_k < 1 or self.map_k % 2 == 0:
            raise ValueError(f'map_k must be an odd int of at least 1, got {self.map_k!r}')
        if self.gain is not None and (type(self.gain) not in (int, float) or not 0 < self.gain < float('inf')):
            raise ValueError(f'gain must be None or a positive number, got {self.gain!r}')
        kinds = tuple(self.kinds) if isinstance(self.kinds, list | tuple) else (self.kinds,)
        if not kinds or any(kind not in KINDS for kind in kinds):
            raise ValueError(f'kinds must be one or several of {KINDS}, got {self.kinds!r}')
        object.__setattr__(self, 'kinds', kinds)
        if (self.init, self.identity) not in INITS:
            raise ValueError(f'init and identity must be a pair of {INITS}, got {(self.init, self.identity)}')

    @classmethod
    def of(cls, options: dict[str, Any]) -> 'RefConvOptions':
        """Makes options by name; raises a TypeError that lists the known names for an unknown one."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            raise TypeError(f'RefConv has no option {unknown[0]!r}; the options are {", ".join(known)} (since 0.3)')
        return cls(**options)


def split_options(arguments: dict[str, Any], plain_type: type[nn.Conv2d]) -> tuple[RefConvOptions, dict[str, Any]]:
    """Splits keyword arguments into the options of a RefConv layer and the arguments of its plain class."""
    known = inspect.signature(plain_type.__init__).parameters
    rest = {name: value for name, value in arguments.items() if name in known}
    return RefConvOptions.of({name: value for name, value in arguments.items() if name not in known}), rest
