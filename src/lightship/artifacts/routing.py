"""The platform's artifacts wherever they lie: its own files for ``minio://``, S3 for ``s3://``, GCS for ``gs://``.

``composition`` makes me from the environment, in which the usual variables of either cloud name endpoint and identity.
They are the platform's, so only the home namespace acts with them: another namespace's URIs in a cloud are refused. The
clients are made, and imported, when the first such URI comes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lightship import errors as trunk
from lightship.artifacts import errors, location, tenancy
from lightship.artifacts.digests import Digest
from lightship.artifacts.store import Entry, ObjectStore

S3 = "s3"
GCS = "gs"
_CREDENTIALS_LIMIT_BYTES = 1 << 20


class Router:
    """A platform's ``Stores``: every URI goes to the store of its scheme."""

    def __init__(self, local: ObjectStore, environ: Mapping[str, str]) -> None:
        self._local = local
        self._environ = environ
        self._opened: dict[str, ObjectStore] = {}

    def within(self, namespace: str) -> ObjectStore:
        """The namespace's view of me. Clouds are reached with the platform's identity, in the home namespace only."""
        return tenancy.Tenant(self if namespace == tenancy.HOME_NAMESPACE else _Elsewhere(self, namespace), namespace)

    async def put(self, uri: str, source: Path | bytes) -> Digest:
        return await self._of(uri).put(uri, source)

    async def get(self, uri: str, destination: Path) -> None:
        await self._of(uri).get(uri, destination)

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        return await self._of(uri).read(uri, limit_bytes)

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        return await self._of(uri).stream(uri)

    async def exists(self, uri: str) -> bool:
        return await self._of(uri).exists(uri)

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        return await self._of(prefix).list(prefix, limit=limit)

    async def delete(self, uri: str) -> None:
        await self._of(uri).delete(uri)

    def _of(self, uri: str) -> ObjectStore:
        """The store of the URI's scheme. Raises ``NotServed`` for one that nothing is set up for."""
        kind = location.scheme(uri)
        opening: Callable[[Mapping[str, str]], ObjectStore | None] | None = {S3: _s3, GCS: _gcs}.get(kind)
        if opening is None:
            return self._local
        if kind not in self._opened:
            opened = opening(self._environ)
            if opened is None:
                return self._local  # which says that it is not served
            self._opened[kind] = opened
        return self._opened[kind]


class _Elsewhere:
    """The router for another namespace than home: only the platform's own files."""

    def __init__(self, router: Router, namespace: str) -> None:
        self._router = router
        self._namespace = namespace

    async def put(self, uri: str, source: Path | bytes) -> Digest:
        return await self._own(uri).put(uri, source)

    async def get(self, uri: str, destination: Path) -> None:
        await self._own(uri).get(uri, destination)

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        return await self._own(uri).read(uri, limit_bytes)

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        return await self._own(uri).stream(uri)

    async def exists(self, uri: str) -> bool:
        return await self._own(uri).exists(uri)

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        return await self._own(prefix).list(prefix, limit=limit)

    async def delete(self, uri: str) -> None:
        await self._own(uri).delete(uri)

    def _own(self, uri: str) -> Router:
        if location.scheme(uri) in (S3, GCS):
            raise errors.NotServed(
                f'the namespace "{self._namespace}" may not act with the platform\'s identity at "{uri}"',
                remedy="Pass the URI to a step that brings its own credentials, or use minio://")
        return self._router


def _s3(environ: Mapping[str, str]) -> ObjectStore | None:
    """The S3 that the environment names; None where it has no keys."""
    if not environ.get("AWS_ACCESS_KEY_ID"):
        return None
    from lightship.artifacts.remote import RemoteStore
    from lightship.artifacts.s3 import S3Objects, site

    return RemoteStore(S3Objects(site(environ)), frozenset({S3}))


def _gcs(environ: Mapping[str, str]) -> ObjectStore | None:
    """The GCS that the environment names; None where it has no identity."""
    emulator, path = environ.get("STORAGE_EMULATOR_HOST", ""), environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if not emulator and not path:
        return None
    from lightship.artifacts.gcs import ENDPOINT, GcsObjects
    from lightship.artifacts.gcs_tokens import Tokens
    from lightship.artifacts.remote import RemoteStore

    if emulator:
        endpoint = emulator if urlsplit(emulator).scheme in ("http", "https") else f"http://{emulator}"
        return RemoteStore(GcsObjects(Tokens(None), endpoint), frozenset({GCS}))
    return RemoteStore(GcsObjects(Tokens(_account(path)), ENDPOINT), frozenset({GCS}))


def _account(path: str) -> Mapping[str, str]:
    try:
        with Path(path).open("rb") as opened:
            found = json.loads(opened.read(_CREDENTIALS_LIMIT_BYTES))
    except (OSError, ValueError) as cause:
        raise trunk.Unavailable(f'the Google credentials in "{path}" cannot be read: {cause}',
                                remedy="Mend GOOGLE_APPLICATION_CREDENTIALS and start Lightship again") from cause
    if not isinstance(found, dict):
        raise trunk.Unavailable(f'the Google credentials in "{path}" are no JSON object',
                                remedy="Mend GOOGLE_APPLICATION_CREDENTIALS and start Lightship again")
    return found
