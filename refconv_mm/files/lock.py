"""Reserves the folder of a run for one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BusyError
from .writing import PART

try:
    import fcntl
except ImportError:  # Windows: there, two runs in one folder are not noticed
    fcntl = None  # type: ignore[assignment]

LOCK = '.lock'


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Makes a folder, locks it for this process, and removes the unfinished files that a killed process left in it.

    The lock ends with the process, however it ends. Its workers do not inherit it.

    Raises:
        BusyError: another process has locked the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, 'w') as file:
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise BusyError(f'another run works in {folder}; wait for its end, or name another folder') from None
        for path in folder.glob(f'{PART}*'):
            path.unlink(missing_ok=True)
        yield
