"""Digests of what artifacts hold. Pure but for reading; ``local`` and whoever checks an artifact call me.

A file's digest is ``sha256:`` of its bytes; a directory's is ``sha256-tree:`` of the sorted names and digests in it,
so that two trees are equal exactly when all their files are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What was kept: the content's digest and its size in bytes (of all files, for a directory)."""

    digest: str
    size_bytes: int
    directory: bool = False


def of_bytes(data: bytes) -> Digest:
    return Digest(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size_bytes=len(data))


def of_tree(files: Mapping[str, Digest]) -> Digest:
    """The digest of a directory from those of its files, by relative path with ``/``."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{len(path)}:{path}\0{files[path].digest}\n".encode())
    return Digest(digest=f"sha256-tree:{total.hexdigest()}", directory=True,
                  size_bytes=sum(digest.size_bytes for digest in files.values()))
