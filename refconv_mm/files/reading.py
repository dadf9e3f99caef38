"""Checkpoint files: reading runs no code that is in them and notices damage; writing is complete or does not happen."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from .errors import CheckpointError, UntrustedError
from .unpickling import TRUST, load, unpickling_problem, wanted_code
from .writing import write_whole


def read_file(path: str | Path, trust: bool = False, map_location: Any = 'cpu') -> Any:
    """Reads the object that `torch.save` wrote into a file.

    Args:
        path: the file.
        trust: run the code that the file asks for. Only for files whose author you trust.
        map_location: as that of `torch.load`.

    Raises:
        FileNotFoundError, PermissionError: the file does not exist, or may not be read.
        UntrustedError: the file would run code.
        CheckpointError: the file is damaged or something else.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f'{path} is a folder, not a checkpoint')
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint at {path}')
    path.open('rb').close()  # who may not read it gets the system's reason
    try:
        _check_archive(path)
        return load(path, map_location, trust)
    except pickle.UnpicklingError as error:
        kind = UntrustedError if wanted_code(error) else CheckpointError
        raise kind(f'{path} {unpickling_problem(error)}') from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        detail = str(error).partition('\n')[0] or type(error).__name__
        raise CheckpointError(f'{path} is damaged or not a PyTorch checkpoint: {detail}') from error


def _check_archive(path: Path) -> None:
    """Checks the checksums of a zip archive, which torch writes and does not read.

    Raises:
        CheckpointError: a part differs from its checksum, or the archive unpacks to more than its size.
    """
    if not zipfile.is_zipfile(path):
        return  # the format before torch 1.6, which has no checksums
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        unpacked = sum(part.file_size for part in parts)
        if unpacked > path.stat().st_size:
            raise CheckpointError(
                f'{path} is not a PyTorch checkpoint: it is compressed and would unpack to {unpacked / 2**20:,.0f} MiB'
            )
        # All are 0 after torch.serialization.set_crc32_options(False).
        if any(part.CRC for part in parts) and (name := archive.testzip()):
            raise CheckpointError(f'{path} is damaged: {name} in it differs from its checksum')


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Writes a checkpoint, completely or not at all."""

    def write(temporary: str) -> None:
        with open(temporary, 'wb') as file:  # to a file, torch's error has the system's reason as its context
            torch.save(checkpoint, file)

    write_whole(path, write)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Replaces mmengine's loader of this name: `load_from`, `resume` and `Pretrained` read as :func:`read_file`."""
    return read_file(os.path.expanduser(filename), os.environ.get(TRUST) == '1', map_location)


def make_mmengine_read_safely(trust: bool = False) -> None:
    """Makes mmengine read local checkpoints with :func:`read_file`, and lets it trust them if asked to."""
    if trust:
        os.environ[TRUST] = '1'
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
