"""`torch.load` that runs no code of a file, for every supported torch.

torch 2.6 and newer take an allow-list with functions in the place of others. Older ones get an unpickler that finds the
same names and nothing else.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from packaging.version import Version

TRUST = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'  # torch reads this in loads that do not pass weights_only


def load(path: str | Path, map_location: Any, trust: bool) -> Any:
    """What `torch.save` wrote.

    Args:
        path: the file.
        map_location: as that of `torch.load`.
        trust: run the code that the file asks for.

    Raises:
        pickle.UnpicklingError: the file would run code; the message names it as torch does.
    """
    if trust:
        return torch.load(path, map_location=map_location, weights_only=False)
    if takes_allow_list():
        torch.serialization.add_safe_globals(checkpoint_globals())
        return torch.load(path, map_location=map_location, weights_only=True)
    return load_restricted(path, map_location)


def takes_allow_list() -> bool:
    """Whether this torch takes a function under the name of another one into its allow-list."""
    return Version(torch.__version__).release >= (2, 6)


def load_restricted(path: str | Path, map_location: Any) -> Any:
    """:func:`load` by an unpickler of our own."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith('/constants.pkl') for name in archive.namelist()):
                raise pickle.UnpicklingError('GLOBAL TorchScript was not an allowed global')  # torch.load would run it
    # With weights_only=True torch would take no other unpickler.
    module = SimpleNamespace(Unpickler=_Unpickler, load=lambda file, **options: _Unpickler(file, **options).load())
    module.__name__ = __name__
    return torch.load(path, map_location=map_location, pickle_module=module, weights_only=False)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f'{module}.{name}'
        if full not in _allowed():
            raise pickle.UnpicklingError(f'GLOBAL {full} was not an allowed global')
        return _allowed()[full]


@cache
def _allowed() -> dict[str, Any]:
    """What torch's own `weights_only=True` finds, and what mmengine stores."""
    from torch import _weights_only_unpickler

    found = {**_weights_only_unpickler._get_allowed_globals(), '_codecs.encode': _bytes_of}
    for entry in checkpoint_globals():
        value, name = entry if isinstance(entry, tuple) else (entry, f'{entry.__module__}.{entry.__qualname__}')
        found[name] = value
    return found


def _bytes_of(text: str, encoding: str) -> bytes:
    """Replaces `codecs.encode`, by which pickles of protocol 2 hold bytes."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'GLOBAL _codecs.encode to {encoding!r} was not an allowed global')
    return text.encode('latin1')


def _statistic(cls: type, name: str) -> object:
    """Replaces `getattr` for stored log buffers: returns their four statistics and nothing else."""
    if cls is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'GLOBAL getattr on {cls!r}, {name!r} is not what mmengine stores')
    return getattr(HistoryBuffer, name)


def checkpoint_globals() -> list[Any]:
    """The types that mmengine stores in a checkpoint beside tensors and builtins: log buffers of numpy arrays.

    The buffers store their methods as calls of `getattr`. With an unrestricted `getattr` a file could reach any code,
    so a function replaces it that knows only the four methods.
    """
    # numpy 1.26 has an `_core`, too, without all of its modules.
    core = np._core if Version(np.__version__).major > 1 else np.core  # type: ignore[attr-defined]
    multiarray = core.multiarray
    dtypes = {type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)}
    entries: list[Any] = [HistoryBuffer, np.ndarray, np.dtype, *sorted(dtypes, key=str)]
    for name in ('_reconstruct', 'scalar'):
        function = getattr(multiarray, name)
        # numpy 1 and 2 name the module differently; files of both load under both.
        entries += [(function, f'numpy.core.multiarray.{name}'), (function, f'numpy._core.multiarray.{name}')]
    entries += [(_statistic, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    return entries


def wanted_code(error: pickle.UnpicklingError) -> str | None:
    """The code that a file asks for, as torch names it; None if the error has another reason."""
    wanted = re.search(r'GLOBAL (.+?) was not an allowed|(GLOBAL getattr on .+? stores)|(Trying to .+)', str(error))
    return next(filter(None, wanted.groups())) if wanted else None


def unpickling_problem(error: pickle.UnpicklingError) -> str:
    """Why torch does not read a file, as the predicate of a sentence."""
    wanted = wanted_code(error)
    if wanted is None:
        return 'is damaged or not a PyTorch checkpoint'
    return (
        f'holds more than weights and what mmengine stores, and loading it could run code: it asks for {wanted}. '
        'If you trust its author, pass --trust.'
    )
