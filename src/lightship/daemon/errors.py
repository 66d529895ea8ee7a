"""This room's branch of the error tree."""

from __future__ import annotations

import errno
from pathlib import Path

from lightship import errors

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class DataDirUnusable(errors.StateError):
    """The data directory cannot be made, written or locked."""


class AlreadyRunning(errors.StateError):
    """Another server holds the data directory."""


class PortInUse(errors.StateError):
    """A port that was asked for is taken."""


class NotRunning(errors.Unavailable):
    """No server runs on that data directory."""


class StartFailed(errors.LightshipError):
    """A detached server ended before it was ready."""

    reason = "StartFailed"


def of_server(error: BaseException, directory: Path) -> errors.LightshipError | None:
    """What to tell of a server's end: the first error that is for its reader, also inside groups; None for a bug."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, (of_server(each, directory) for each in error.exceptions)), None)
    if isinstance(error, errors.LightshipError):
        return error
    if isinstance(error, OSError) and error.errno in _DISK:
        return DataDirUnusable(
            f"cannot write to the data directory {directory}: {error.strerror or error}",
            remedy="make room on that disk and start again; nothing that was accepted is lost")
    return None


def not_yours(directory: Path) -> DataDirUnusable:
    """For a directory that this user may not read."""
    return DataDirUnusable(
        f"you may not read the data directory {directory}: it belongs to another user",
        remedy="ask as its owner, or give a directory of your own with --data-dir (or LIGHTSHIP_DATA_DIR)")
