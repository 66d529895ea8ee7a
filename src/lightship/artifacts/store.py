"""The seam of artifact stores: what every kind of object store does for us. Types only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightship.artifacts.digests import Digest


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file in the store."""

    uri: str
    size_bytes: int
    version: str = ""
    """Another one whenever the file was written anew, where the store tells such (an ETag, a generation)."""
    stamp: str = ""
    """As ``version``, of a file of this machine: worth nothing elsewhere, and no name of its content."""


class ObjectStore(Protocol):
    """Keeps files and directories by URI.

    Every method raises ``artifacts.errors.BadLocation`` for a malformed URI and ``NotServed`` for a scheme that this
    store does not hold, ``NoSuchArtifact`` where nothing lies at the URI, and ``lightship.errors.Unavailable`` when
    the store cannot be reached.
    """

    async def put(self, uri: str, source: Path | bytes) -> Digest:
        """Keeps a file, a directory or bytes, whole or not at all; replaces what lay there. Durable on return."""
        ...

    async def get(self, uri: str, destination: Path) -> None:
        """Copies the file or directory to ``destination``, which must not exist."""
        ...

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        """A file's content. Raises ``errors.TooLarge`` when it has more than ``limit_bytes``."""
        ...

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        """A file's size and its content in chunks; the iterator must be closed when abandoned."""
        ...

    async def exists(self, uri: str) -> bool:
        """Whether a file or directory lies there."""
        ...

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        """The files at or below ``prefix`` (a whole path part), in order, at most ``limit`` of them."""
        ...

    async def delete(self, uri: str) -> None:
        """Removes the file or directory; nothing there is fine."""
        ...


class Stores(ObjectStore, Protocol):
    """The platform's own store, with every right; whatever acts for a namespace takes a view of it."""

    def within(self, namespace: str) -> ObjectStore:
        """The namespace's view, which raises ``errors.Forbidden`` for what belongs to others; see ``tenancy``."""
        ...
