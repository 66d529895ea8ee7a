"""The platform's artifacts wherever they lie: its own files for ``minio://``, S3 for ``s3://``, GCS for ``gs://``.

``composition`` makes me from the environment, in which the usual variables of either cloud name endpoint and identity.
They are the platform's, so only the namespaces that its engineer trusts act with them (the home namespace, unless they
say otherwise); another namespace's URIs in a cloud are refused, unless it brings keys of its own (``attach``). The
clients are made, and imported, when the first such URI comes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from lightship import errors as trunk
from lightship.artifacts import errors, location, tenancy
from lightship.artifacts.digests import Digest
from lightship.artifacts.store import Entry, ObjectStore

S3 = "s3"
GCS = "gs"
EVERY_NAMESPACE = "*"
_CREDENTIALS_LIMIT_BYTES = 1 << 20


class Providers(Protocol):
    """Where namespaces say which stores are theirs."""

    async def store(self, namespace: str, uri: str) -> ObjectStore | None:
        """The namespace's own store of ``uri``, None where it has none. Raises ``errors.LightshipError`` with why."""
        ...


class Router:
    """A platform's ``Stores``: every URI goes to the store of its scheme."""

    def __init__(self, local: ObjectStore, environ: Mapping[str, str],
                 trusted: Collection[str] = (tenancy.HOME_NAMESPACE,)) -> None:
        self._local = local
        self._environ = environ
        self._trusted = frozenset(trusted)
        self._providers: Providers | None = None
        self._opened: dict[str, ObjectStore] = {}

    def attach(self, providers: Providers) -> None:
        """From now on namespaces may bring stores of their own along."""
        self._providers = providers

    def within(self, namespace: str) -> ObjectStore:
        """The namespace's view of me: its own stores where it has them, else mine as far as it may."""
        return _View(self, namespace)

    async def for_namespace(self, namespace: str, uri: str) -> ObjectStore:
        """The store that the namespace means by ``uri``. Raises ``NotServed`` for a cloud that it may not act in."""
        if self._providers is not None:
            own = await self._providers.store(namespace, uri)
            if own is not None:
                return own
        if location.scheme(uri) in (S3, GCS) and not self._trusts(namespace):
            raise errors.NotServed(
                f'the namespace "{namespace}" may not act with the platform\'s identity at "{uri}"',
                remedy="Give it keys of its own in the ConfigMap kfp-launcher, name it in --cloud-namespaces, pass the "
                       "URI to a step that brings its credentials, or use minio://")
        return tenancy.Tenant(self, namespace)

    def _trusts(self, namespace: str) -> bool:
        return namespace in self._trusted or EVERY_NAMESPACE in self._trusted

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


class _View:
    """An ``ObjectStore``: the router for one namespace."""

    def __init__(self, router: Router, namespace: str) -> None:
        self._router = router
        self._namespace = namespace

    async def put(self, uri: str, source: Path | bytes) -> Digest:
        return await (await self._of(uri)).put(uri, source)

    async def get(self, uri: str, destination: Path) -> None:
        await (await self._of(uri)).get(uri, destination)

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        return await (await self._of(uri)).read(uri, limit_bytes)

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        return await (await self._of(uri)).stream(uri)

    async def exists(self, uri: str) -> bool:
        return await (await self._of(uri)).exists(uri)

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        return await (await self._of(prefix)).list(prefix, limit=limit)

    async def delete(self, uri: str) -> None:
        await (await self._of(uri)).delete(uri)

    async def _of(self, uri: str) -> ObjectStore:
        return await self._router.for_namespace(self._namespace, uri)


def open_s3(scheme: str, environ: Mapping[str, str]) -> ObjectStore:
    """The S3 that the variables of AWS's tools name, for URIs of ``scheme``. Raises ``errors.InvalidInput``."""
    from lightship.artifacts.remote import RemoteStore
    from lightship.artifacts.s3 import S3Objects, site

    return RemoteStore(S3Objects(site(environ)), frozenset({scheme}))


def open_gcs(account: Mapping[str, Any] | None, endpoint: str = "") -> ObjectStore:
    """Google's storage, asked by ``account``, the content of a credentials file; None asks for what is public."""
    from lightship.artifacts.gcs import ENDPOINT, GcsObjects
    from lightship.artifacts.gcs_tokens import Tokens
    from lightship.artifacts.remote import RemoteStore

    return RemoteStore(GcsObjects(Tokens(account), endpoint or ENDPOINT), frozenset({GCS}))


def _s3(environ: Mapping[str, str]) -> ObjectStore | None:
    """The S3 that the environment names; None where it has no keys."""
    if not environ.get("AWS_ACCESS_KEY_ID"):
        return None
    return open_s3(S3, environ)


def _gcs(environ: Mapping[str, str]) -> ObjectStore | None:
    """The GCS that the environment names; None where it has no identity."""
    emulator, path = environ.get("STORAGE_EMULATOR_HOST", ""), environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if not emulator and not path:
        return None
    if emulator:
        from lightship.artifacts.gcs import GcsObjects
        from lightship.artifacts.gcs_tokens import Tokens
        from lightship.artifacts.remote import RemoteStore

        endpoint = emulator if urlsplit(emulator).scheme in ("http", "https") else f"http://{emulator}"
        return RemoteStore(GcsObjects(Tokens(None), endpoint), frozenset({GCS}))
    return open_gcs(_account(path))


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
