"""The options of a RefConv layer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from . import functional as RF

FORMS = ('auto', 'update', 'explicit')
KINDS = ('depthwise', 'grouped', 'dense')


@dataclass(frozen=True)
class RefConvOptions:
    """The options of `conv_cfg=dict(type='RefConv', ...)`, `refocus` and `RefocusedBackbone`.

    Args:
        map_k: side `m` of the map, odd, at most the kernel's longer side.
        init: start of the transformation. `'zero'`: the kernel is the basis. `'kaiming'`: the random start of the
            released layer, which changes the kernel. `'dirac'`: the identity map, for `identity=False`.
        identity: False leaves out the `Wb +` term.
        form: the trained parameter. `'update'`: the update of the kernel, with its gradient multiplied by the Gram
            matrix. `'explicit'`: the map, as in the released layer. `'auto'` is `'update'`.
        gain: None as in the paper. A number scales the Gram matrices so that it is the mean of their diagonals; at 1 a
            refocused kernel moves as fast as a plain one.
        kinds: the layers to refocus, one or several of `'depthwise'`, `'grouped'`, `'dense'`; the others are ordinary.

    Raises:
        TypeError: `map_k` or `gain` is not a number, or `kinds` holds no strings.
        ValueError: a value is not among those above, or `init` and `identity` do not fit each other.
    """

    map_k: int = 3
    init: str = 'zero'
    identity: bool = True
    form: str = 'auto'
    gain: float | None = None
    kinds: str | Sequence[str] = KINDS

    def __post_init__(self) -> None:
        RF.check_map_k(self.map_k)
        for name, allowed in (('form', FORMS), ('init', tuple(RF.STARTS))):
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} must be one of {allowed}, got {getattr(self, name)!r}')
        object.__setattr__(self, 'kinds', _checked_kinds(self.kinds))
        if self.gain is not None:
            if isinstance(self.gain, bool) or not isinstance(self.gain, int | float):
                raise TypeError(f'gain must be None or a number, got {self.gain!r}')
            if not 0 < self.gain < float('inf'):
                raise ValueError(f'gain must be positive and finite, got {self.gain!r}')
        if self.start.identity not in (None, self.identity):
            effect = 'double' if self.identity else 'erase'
            fitting = [name for name, start in RF.STARTS.items() if start.identity in (None, self.identity)]
            raise ValueError(
                f'identity={self.identity} with init={self.init!r} would {effect} the kernel; use one of {fitting}'
            )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> RefConvOptions:
        """Options by name.

        Raises:
            TypeError: an unknown name; the message has the nearest known one.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f'did you mean {near[0]!r}?' if near else f'the options are {", ".join(known)}'
                raise TypeError(f'RefConv has no option {name!r}; {hint}')
        return cls(**options)

    @property
    def start(self) -> RF.Start:
        """The entry of `init`."""
        return RF.STARTS[self.init]


def kind_of(conv: nn.Conv2d) -> str:
    """`'depthwise'` (as many groups as input channels), `'grouped'` or `'dense'` (one group)."""
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


DEFAULTS = RefConvOptions()
