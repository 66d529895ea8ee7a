"""Copying files and trees with care: digests on the way, clones where the file system can, no links out of a tree.

``local`` calls me, in worker threads.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from pathlib import Path

from lightship.artifacts import digests, errors
from lightship.artifacts.digests import Digest

CHUNK_BYTES = 1 << 20
TREE_LIMIT_FILES = 100_000
_FICLONE = 0x40049409


def copy(source: Path, target: Path, *, durable: bool) -> Digest:
    """Copies a file or directory to ``target``, which must not exist; returns what was copied.

    Raises ``UnsafeTree`` for a symbolic link that leads out of the tree, and for devices, sockets and pipes.
    """
    if not source.is_dir():
        return _copy_file(source, target, durable=durable)
    root = source.resolve()
    found: dict[str, Digest] = {}
    for directory, names, files in os.walk(root):
        here = Path(directory)
        relative = here.relative_to(root)
        (target / relative).mkdir()
        for name in names:
            if (here / name).is_symlink():
                raise errors.UnsafeTree(f'"{relative / name}" is a symbolic link to a directory',
                                        remedy="Write the files themselves into the output")
        for name in files:
            if len(found) >= TREE_LIMIT_FILES:
                raise errors.UnsafeTree(f"an artifact has more than {TREE_LIMIT_FILES} files",
                                        remedy="Pack them into an archive")
            path = _inside(root, here / name)
            found[(relative / name).as_posix()] = _copy_file(path, target / relative / name, durable=durable)
        if durable:
            sync_directory(target / relative)
    return digests.of_tree(found)


def write(data: bytes, target: Path, *, durable: bool) -> Digest:
    """Writes bytes to a new file."""
    with open(target, "xb") as out:
        out.write(data)
        _sync(out.fileno(), durable)
    return digests.of_bytes(data)


def fetch(source: Path, target: Path) -> None:
    """Copies from the store, where there are no links, to a new ``target``; clones where the file system can."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_clone)
    else:
        _clone(str(source), str(target))


def sync_directory(path: Path) -> None:
    """Makes the directory's entries durable: a renamed file is not safe before this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> int:
    """A descriptor of a regular file, never through a final symbolic link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise errors.UnsafeTree(f'"{path.name}" is a device, a socket, a pipe or a directory')
    return descriptor


def _inside(root: Path, path: Path) -> Path:
    """The file that ``path`` leads to, which must lie in ``root``."""
    if not path.is_symlink():
        return path
    real = path.resolve()
    if not real.is_relative_to(root):
        raise errors.UnsafeTree(f'"{path.relative_to(root)}" is a symbolic link that leads out of the artifact',
                                remedy="Write the file itself into the output")
    return real


def _copy_file(source: Path, target: Path, *, durable: bool) -> Digest:
    try:
        descriptor = open_regular(source)
    except OSError as error:
        raise errors.UnsafeTree(f'cannot read "{source.name}": {error.strerror}') from error
    total = hashlib.sha256()
    size = 0
    with open(descriptor, "rb") as inp, open(target, "xb") as out:
        cloned = _try_clone(inp.fileno(), out.fileno())
        while chunk := inp.read(CHUNK_BYTES):
            total.update(chunk)
            size += len(chunk)
            if not cloned:
                out.write(chunk)
        out.flush()
        _sync(out.fileno(), durable)
    return Digest(digest=f"sha256:{total.hexdigest()}", size_bytes=size)


def _clone(source: str, target: str) -> str:
    with open(open_regular(Path(source)), "rb") as inp, open(target, "xb") as out:
        if not _try_clone(inp.fileno(), out.fileno()):
            shutil.copyfileobj(inp, out, CHUNK_BYTES)
    return target


def _try_clone(source: int, target: int) -> bool:
    """Shares the blocks of a whole file, copy-on-write, where the file system can (btrfs, XFS)."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _sync(descriptor: int, durable: bool) -> None:
    if durable:
        os.fsync(descriptor)
