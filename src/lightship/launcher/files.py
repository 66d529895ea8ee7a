"""Paths of the container, and files copied with a digest: nothing is read or written outside the step's volumes.

``staging`` and ``stores`` call me. A step's command may leave any symbolic link behind; those that lead out of the
volume are refused, because whoever runs me may see more of the machine than the step did.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Tuple

CHUNK_BYTES = 1024 * 1024
MAX_TREE_FILES = 100_000


class StagingError(Exception):
    """Files cannot be moved; the text says which and why."""


class Stored(NamedTuple):
    """What was copied: ``sha256:...`` for a file, ``sha256-tree:...`` for a folder, and the bytes."""

    digest: str
    size_bytes: int


class Volumes:
    """The step's volumes: where paths of the container lie on this machine.

    ``mounts`` are the mount paths that may be used; ``locate`` gives the folder of one.
    """

    def __init__(self, mounts: List[str], locate: Callable[[str], str]) -> None:
        self._folders = {mount.rstrip("/"): os.path.realpath(locate(mount)) for mount in mounts}

    def covers(self, path: str) -> bool:
        return self._mount_of(path) is not None

    def resolve(self, path: str) -> str:
        """Where ``path`` lies here. Raises ``StagingError`` for what is, or leads, outside the volumes."""
        mount = self._mount_of(path)
        if mount is None:
            raise StagingError('the path "%s" is on none of the step\'s volumes (%s)'
                               % (path, ", ".join(sorted(self._folders))))
        folder = self._folders[mount]
        resolved = os.path.realpath(os.path.join(folder, path[len(mount):].lstrip("/")))
        if not within(resolved, folder):
            raise StagingError('the path "%s" leads outside the volume at "%s"' % (path, mount))
        return resolved

    def _mount_of(self, path: str) -> "str | None":
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            return None
        fitting = [mount for mount in self._folders if path == mount or path.startswith(mount + "/")]
        return max(fitting, key=len) if fitting else None


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def make_folders(path: str) -> None:
    """Make a folder and its parents, writable by whichever user the step's command runs as."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder)
        os.chmod(folder, 0o777)


def files_under(source: str) -> Iterator[Tuple[str, str]]:
    """(relative path, absolute path) of every file in the folder ``source``; links must stay inside it."""
    count = 0
    pending = [""]
    while pending:
        folder = pending.pop()
        for name in sorted(os.listdir(os.path.join(source, folder))):
            relative = folder + "/" + name if folder else name
            path = os.path.join(source, relative)
            count += 1
            if count > MAX_TREE_FILES:
                raise StagingError('"%s" holds more than %d files' % (source, MAX_TREE_FILES))
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                path = os.path.realpath(path)
                if not within(path, source):
                    raise StagingError('"%s" is a symbolic link that leads outside the artifact' % relative)
                if os.path.isdir(path):
                    raise StagingError('"%s" is a symbolic link to a folder' % relative)
                mode = os.stat(path).st_mode if os.path.exists(path) else 0
            if stat.S_ISDIR(mode):
                pending.append(relative)
            elif stat.S_ISREG(mode):
                yield relative, path
            else:
                raise StagingError('"%s" is neither a file nor a folder' % relative)


def open_file(source: str) -> BinaryIO:
    """A file to read, never through a final symbolic link, and never waiting for a pipe's other end."""
    descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StagingError('"%s" is neither a file nor a folder' % source)
    return os.fdopen(descriptor, "rb")


def copy_file(source: str, destination: str, limit_bytes: int) -> Stored:
    """Copy one regular file, with its digest computed on the way; at most ``limit_bytes``."""
    digest = hashlib.sha256()
    size = 0
    with open_file(source) as reader, open(destination, "wb") as writer:
        while True:
            chunk = reader.read(CHUNK_BYTES)
            if not chunk:
                return Stored("sha256:" + digest.hexdigest(), size)
            size += len(chunk)
            if size > limit_bytes:
                raise StagingError('"%s" is larger than the limit of %d bytes' % (source, limit_bytes))
            digest.update(chunk)
            writer.write(chunk)


def digest_of(source: str) -> Stored:
    """The digest of a file or folder that stays where it is."""
    if not os.path.isdir(source):
        return copy_file(source, os.devnull, 1 << 62)
    return tree_digest({relative: copy_file(path, os.devnull, 1 << 62) for relative, path in files_under(source)})


def tree_digest(parts: Dict[str, Stored]) -> Stored:
    """The digest of a folder from those of its files: their relative paths and contents, in order."""
    digest = hashlib.sha256()
    for path in sorted(parts):
        digest.update(("%d:%s\0%s\n" % (len(path), path, parts[path].digest)).encode("utf-8", "surrogateescape"))
    return Stored("sha256-tree:" + digest.hexdigest(), sum(part.size_bytes for part in parts.values()))
