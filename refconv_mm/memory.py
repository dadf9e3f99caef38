"""Keeps freed memory in the process, which makes training on a CPU faster."""

from __future__ import annotations

import ctypes
import os

import torch

# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_VARIABLES = 'MALLOC_MMAP_THRESHOLD_', 'MALLOC_TRIM_THRESHOLD_', 'MALLOC_TOP_PAD_'


def keep_freed_memory() -> bool:
    """Tells glibc to reuse the memory of freed tensors instead of handing it back to the kernel.

    By default every large tensor is mapped anew, and its pages are faulted in one by one: up to half of the time of a
    training step on a CPU. Results do not change; a process keeps the memory of its largest moment. Does nothing where
    a GPU is present, without glibc, or where the user set glibc's own variables (`MALLOC_TRIM_THRESHOLD_` and others).

    Returns:
        Whether the settings were made.
    """
    if torch.cuda.is_available() or any(name in os.environ for name in _VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    settings = (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28)
    return all(mallopt(name, value) for name, value in settings)
