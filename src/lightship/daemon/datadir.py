"""The data directory: made private, locked by one server, with its token.

``composition`` calls me first, so that nothing is opened in a directory that another server uses.
"""

from __future__ import annotations

import fcntl
import os

from lightship.daemon import errors
from lightship.lib import private
from lightship.settings import Settings, command


class Lock:
    """The exclusive hold on a data directory; the kernel drops it with the process, however that ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def prepare(settings: Settings) -> None:
    """Make the directory (0700) and check that it can be written. Raises ``DataDirUnusable``."""
    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.log_dir.mkdir(mode=0o700, exist_ok=True)
        probe = directory / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise errors.DataDirUnusable(
            f"cannot write to the data directory {directory}: {error.strerror or error}",
            remedy="give a directory of your own with --data-dir (or LIGHTSHIP_DATA_DIR), or mend its permissions",
        ) from error


def lock(settings: Settings) -> Lock:
    """Take the directory for this process. Raises ``AlreadyRunning`` naming the holder."""
    path = settings.data_dir / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise errors.AlreadyRunning(
            f"another Lightship{f' (pid {holder})' if holder else ''} uses the data directory {settings.data_dir}",
            remedy=f"use it ('{command(settings, 'status')}'), stop it ('{command(settings, 'down')}'), "
                   "or give another --data-dir",
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise errors.DataDirUnusable(
            f"cannot lock {path}: {error.strerror or error}",
            remedy="the data directory must lie on a local file system that supports locks",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return Lock(descriptor)


def token(settings: Settings) -> str:
    """The admin token, made at the first start: 256 random bits, readable by the owner alone."""
    return private.secret(settings.token_file)
