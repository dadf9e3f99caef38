"""Writes files completely or not at all, and overwrites nothing unasked."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import WriteError, chain

PART = '.part-'  # how the names of unfinished files begin


def check_free(out_dir: Path, names: Sequence[str], force: bool) -> None:
    """Checks before the work begins that no file would be overwritten unasked.

    Raises:
        FileExistsError: names the first such file.
    """
    for name in names:
        if (out_dir / name).exists() and not force:
            raise FileExistsError(f'{out_dir / name} exists and is left alone; name another folder or pass --force')


def write_whole(path: Path, write: Any) -> None:
    """Writes a file completely or not at all.

    Args:
        path: the file.
        write: called with the name of a temporary file in the same directory, which is then renamed to `path`.

    Raises:
        WriteError: the disk is full, the directory is missing or read-only, or the like.
    """
    stem = path.stem.encode(errors='ignore')[:99].decode(errors='ignore')  # systems limit the bytes of a name
    temporary = path.parent / f'{PART}{stem}-{secrets.token_hex(4)}{path.suffix}'
    try:
        write(str(temporary))
        with open(temporary, 'r+b') as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())  # else a power cut after the renaming could leave an empty file
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if reason := _os_error(error):
            raise WriteError(f'cannot write {path}: {os.strerror(reason)}{_room(path.parent)}') from error
        raise


def _os_error(error: BaseException | None) -> int | None:
    """The number of the OSError in a chain of errors: torch raises its own where a write fails."""
    for one in chain(error):
        if not isinstance(one, Exception):  # an interrupt is no fault of the disk
            return None
        if isinstance(one, OSError) and one.errno:
            return one.errno
    return None


def _room(folder: Path) -> str:
    """The free space of a disk, as the end of a sentence."""
    try:
        return f' (without it, {shutil.disk_usage(folder).free / 2**20:.1f} MiB are free on its disk)'
    except OSError:
        return ''


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, completely or not at all."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding='utf-8'))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, completely or not at all; arrays become lists, other unknown types strings."""
    write_text(path, json.dumps(value, indent=1, default=lambda v: v.tolist() if hasattr(v, 'tolist') else str(v)))
