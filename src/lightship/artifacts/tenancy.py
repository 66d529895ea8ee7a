"""Whose artifacts are whose: what a namespace may read and write in stores that namespaces share.

Every store that belongs to the platform hands out ``Tenant`` views of itself (``Stores.within``), and whatever acts for
a namespace (a step's files, an importer, a download) goes through one. The rules, by the URI's path in its bucket:

- ``private-artifacts/<namespace>/...`` is that namespace's alone, as upstream's per-namespace roots are laid out;
- all else belongs to the home namespace (``default``), where a single user's runs are. Its runs' own folder,
  ``mlpipeline/v2/artifacts``, is not for others; the rest is a shared area that every namespace may read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from lightship import errors as trunk
from lightship.artifacts import errors, location
from lightship.artifacts.digests import Digest
from lightship.artifacts.store import Entry, ObjectStore

HOME_NAMESPACE = "default"
BUCKET = "mlpipeline"
PRIVATE = "private-artifacts"
_RUNS = ("v2", "artifacts")
_OWN = "minio"
_STORES = frozenset({_OWN, "s3", "gs"})


def default_root(namespace: str) -> str:
    """Where the files of a namespace's runs lie unless a run or pipeline says otherwise."""
    private = "" if namespace == HOME_NAMESPACE else f"{PRIVATE}/{namespace}/"
    return f"minio://{BUCKET}/{private}{'/'.join(_RUNS)}"


def allowed(uri: str, namespace: str, *, write: bool) -> bool:
    """Whether the namespace may use what lies at or under ``uri``. Raises ``BadLocation`` for what is no URI."""
    kind = location.scheme(uri)
    if kind and kind not in _STORES:
        return True  # Whatever it is, no store of ours will serve it.
    try:
        place = location.parse(uri)
    except errors.BadLocation:
        if kind in ("", _OWN):
            raise
        return True  # Nor that.
    if not place.key and kind != _OWN:
        return not write
    parts = tuple(place.key.split("/")) if place.key else ()
    if not parts:
        return False  # A whole bucket holds the private parts of others.
    if parts[0] == PRIVATE:
        return parts[1:2] == (namespace,)
    if namespace == HOME_NAMESPACE:
        return True
    if place.bucket == BUCKET and parts[:2] == _RUNS[:len(parts)]:
        return False
    return not write


def check(uri: str, namespace: str, *, write: bool = False) -> None:
    """Raise ``Forbidden`` for what ``allowed`` refuses."""
    if not allowed(uri, namespace, write=write):
        act = "written" if write else "read"
        raise trunk.Forbidden(
            f'"{uri}" is not to be {act} by the namespace "{namespace}": it lies in a part of the store that belongs '
            "to another", remedy=f"Use a path under {default_root(namespace).removesuffix('/v2/artifacts')}/")


class Tenant:
    """An ``ObjectStore``: one namespace's view of ``store``."""

    def __init__(self, store: ObjectStore, namespace: str) -> None:
        self._store = store
        self._namespace = namespace

    async def put(self, uri: str, source: Path | bytes) -> Digest:
        check(uri, self._namespace, write=True)
        return await self._store.put(uri, source)

    async def get(self, uri: str, destination: Path) -> None:
        check(uri, self._namespace)
        await self._store.get(uri, destination)

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        check(uri, self._namespace)
        return await self._store.read(uri, limit_bytes)

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        check(uri, self._namespace)
        return await self._store.stream(uri)

    async def exists(self, uri: str) -> bool:
        check(uri, self._namespace)
        return await self._store.exists(uri)

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        check(prefix, self._namespace)
        return await self._store.list(prefix, limit=limit)

    async def delete(self, uri: str) -> None:
        check(uri, self._namespace, write=True)
        await self._store.delete(uri)
