"""Files that are written whole or not at all, and never over others unasked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def check_free(out_dir: Path, names: Sequence[str], force: bool) -> None:
    """Raises before the work begins if a file would be overwritten unasked.

    Raises:
        FileExistsError: names the first such file.
    """
    for name in names:
        if (out_dir / name).exists() and not force:
            raise FileExistsError(f'{out_dir / name} exists and is left alone; name another --out-dir or pass --force')


def write_whole(path: Path, write: Any) -> None:
    """Calls `write(temporary)` with a file name in the same directory, then renames it: whole or not at all."""
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.stem}-', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
