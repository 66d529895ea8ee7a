"""Archives, unpacked with care: nothing leads out of the folder, nothing but files comes of it, and no more than told.

``cache`` calls me in a worker thread for a download that is one archive.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from lightship import errors

_CHUNK_BYTES = 1 << 20
_LINK_MODE = 0o120000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may come of an archive. ``free`` tells the bytes that the disk may still give."""

    files: int
    size_bytes: int
    free: Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class _Member:
    """One thing in an archive: how to open it, or why it is no file."""

    name: str
    open: Callable[[], IO[bytes] | None]
    problem: str = ""


def unpack(archive: Path, folder: Path, limits: Limits) -> int:
    """Unpack into ``folder`` and delete the archive; how many files came. Raises ``errors.InvalidInput``."""
    count, size = 0, 0
    try:
        for member in _zip(archive) if archive.name.lower().endswith(".zip") else _tar(archive):
            parts = PurePosixPath(member.name).parts
            if not parts or parts[0] == "/" or ".." in parts or "\0" in member.name or "\\" in member.name:
                raise _bad(archive, f"{member.name!r} leads out of it")
            if member.problem:
                raise _bad(archive, f"{member.name!r} is {member.problem}")
            count += 1
            if count > limits.files:
                raise errors.TooLarge(f"{archive.name} holds more than {limits.files} files")
            size = _write(archive, member, folder.joinpath(*parts), (size, limits))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as cause:
        raise _bad(archive, f"it cannot be read: {cause}") from cause
    except ValueError as cause:
        raise _bad(archive, f"it cannot be read: {cause}") from cause
    archive.unlink()
    return count


def _write(archive: Path, member: _Member, target: Path, so_far: tuple[int, Limits]) -> int:
    size, limits = so_far
    if target == archive:
        raise _bad(archive, "it holds a file of its own name")
    target.parent.mkdir(parents=True, exist_ok=True)
    opened = member.open()
    assert opened is not None, "only files are opened"
    with opened, target.open("wb") as file:
        while chunk := opened.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > limits.size_bytes:
                raise errors.TooLarge(f"{archive.name} unpacks to more than {limits.size_bytes} bytes")
            if len(chunk) > limits.free():
                raise errors.Unavailable(f"{archive.name} unpacks to more than the disk has room for",
                                         remedy="Make room on the disk of the data directory; the Pod tries again")
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size


def _zip(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            if entry.is_dir():
                continue
            link = (entry.external_attr >> 16) & 0o170000 == _LINK_MODE
            yield _Member(name=entry.filename, open=lambda entry=entry: opened.open(entry),  # type: ignore[misc]
                          problem="a link" if link else "encrypted" if entry.flag_bits & 1 else "")


def _tar(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as opened:
        for entry in opened:
            if entry.isdir():
                continue
            problem = "" if entry.isfile() else "a link" if entry.issym() or entry.islnk() else "a device or a pipe"
            yield _Member(name=entry.name, problem=problem,
                          open=lambda entry=entry: opened.extractfile(entry))  # type: ignore[misc]


def _bad(archive: Path, why: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"the archive {archive.name} is not unpacked: {why}",
                               remedy="Pack plain files, with paths below the archive's own folder")


def free_for(path: Path, kept_bytes: int) -> Callable[[], int]:
    """What the disk of ``path`` may still give, looked at once in 64 MiB."""
    state = {"left": 0, "until": 0}

    def left() -> int:
        if state["until"] <= 0:
            state["left"], state["until"] = max(shutil.disk_usage(path).free - kept_bytes, 0), 64
        state["until"] -= 1
        return state["left"]

    return left
