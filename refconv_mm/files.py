"""Writes files completely or not at all, and overwrites nothing unasked."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def check_free(out_dir: Path, names: Sequence[str], force: bool) -> None:
    """Checks before the work begins that no file would be overwritten unasked.

    Raises:
        FileExistsError: names the first such file.
    """
    for name in names:
        if (out_dir / name).exists() and not force:
            raise FileExistsError(f'{out_dir / name} exists and is left alone; name another --out-dir or pass --force')


def write_whole(path: Path, write: Any) -> None:
    """Writes a file completely or not at all.

    Args:
        path: the file.
        write: called with the name of a temporary file in the same directory, which is then renamed to `path`.
    """
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.stem}-', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, completely or not at all."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding='utf-8'))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, completely or not at all; arrays become lists, other unknown types strings."""
    write_text(path, json.dumps(value, indent=1, default=lambda v: v.tolist() if hasattr(v, 'tolist') else str(v)))


def read_json(path: Path) -> Any:
    """Reads JSON; None if the file does not exist."""
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
