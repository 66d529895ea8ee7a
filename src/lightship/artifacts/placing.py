"""Files written below a directory that others may have prepared: no link in it, whoever made it, leads out of it.

The initializers of trainings and of models call me. A volume outlives the Pods that had it, and what they left there is
not to be trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path, PurePosixPath

from lightship import errors

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
COPY_BYTES = 1 << 20
_UNFINISHED = ".lightship-part"


Reader = Callable[[], Awaitable[tuple[int, AsyncIterator[bytes]]]]
"""Opens what is to be written: its size and its content."""


async def write(root: Path, relative: str, source: Reader) -> None:
    """Put a file at ``relative`` below ``root``, in place of what was there. Raises ``errors.InvalidInput``."""
    parts = PurePosixPath(relative).parts
    if not parts or ".." in parts or parts[0] == "/":
        raise errors.InvalidInput(f'"{relative}" is no place below a directory')
    folder = _folder(root, parts[:-1])
    try:
        await _write(folder, parts[-1], source)
    finally:
        os.close(folder)


async def _write(folder: int, name: str, source: Reader) -> None:
    unfinished = f".{name}{_UNFINISHED}"[-255:]
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished, dir_fd=folder)
    descriptor = os.open(unfinished, _FILE, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _, chunks = await source()
            try:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            finally:
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)
        raise


def link(root: Path, relative: str, source: Path, *, share: bool) -> None:
    """Put the file ``source`` at ``relative`` below ``root``, in place of what was there: as the same file where
    ``share`` says so and the file system can, else as a copy. Raises ``errors.InvalidInput``.
    """
    parts = PurePosixPath(relative).parts
    if not parts or ".." in parts or parts[0] == "/":
        raise errors.InvalidInput(f'"{relative}" is no place below a directory')
    folder = _folder(root, parts[:-1])
    unfinished = f".{parts[-1]}{_UNFINISHED}"[-255:]
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)
        if not (share and _linked(source, folder, unfinished)):
            _copied(source, folder, unfinished)
        os.rename(unfinished, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        # A rename between two names of one file leaves both.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)
    finally:
        os.close(folder)


def _linked(source: Path, folder: int, name: str) -> bool:
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as cause:
        if cause.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            return False  # another file system, or one that has no links or no more of them
        raise
    return True


def _copied(source: Path, folder: int, name: str) -> None:
    descriptor = os.open(name, _FILE, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as writer, source.open("rb") as reader:
            shutil.copyfileobj(reader, writer, COPY_BYTES)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise


def _folder(root: Path, parts: tuple[str, ...]) -> int:
    """A descriptor of the directory, made where it is missing."""
    here = os.open(root, _DIRECTORY)
    for part in parts:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=here)
        try:
            below = os.open(part, _DIRECTORY, dir_fd=here)
        except OSError as cause:
            raise errors.InvalidInput(f'"{part}" in the volume is a link or a file, where a directory is wanted',
                                      remedy="Remove it from the volume, or use another") from cause
        finally:
            os.close(here)
        here = below
    return here
