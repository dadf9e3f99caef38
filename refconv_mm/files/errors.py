"""The errors that a user can mend: ValueErrors and OSErrors. The commands print their message without a traceback."""

from __future__ import annotations

from collections.abc import Iterator


class CheckpointError(ValueError):
    """A file that is damaged, foreign or unsafe, or that belongs to another model than the config's."""


class FuseError(ValueError):
    """A model that must not be fused, or a fused model that computes something else than the refocused one."""


class ExportError(ValueError):
    """A model that does not become ONNX or cannot be tested as ONNX, or an ONNX model that computes something else."""


class MissingPackageError(ValueError, ImportError):
    """An optional package that does not import; the message says how to install it."""


class UntrustedError(CheckpointError):
    """A checkpoint that would run code when it is read."""


class WriteError(OSError):
    """A file that could not be written; the message names it and the free space. What was there before is whole."""


class GpuOpsError(ValueError):
    """A model that needs ops of mmcv which were not compiled for its device; the message has the remedy."""


class BusyError(ValueError):
    """A folder that another process is working in."""


class DataError(ValueError):
    """A sample that cannot be read, or arms of a comparison that did not see the same data."""


class DivergedError(ValueError):
    """A training whose losses, gradients or weights are not finite."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
