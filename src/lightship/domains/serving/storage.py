"""storageUris: what they say and which schemes there are. Pure; admission, children and the initializer call me."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lightship.domains.serving.errors import BadStorageUri

OBJECT_STORE_SCHEMES = frozenset({"minio", "s3", "gs"})
"""Schemes that the platform's artifact store answers for."""

# Upstream's prefixes and, beside them, ours (minio) and the registry's. Whether this place can fetch one is the Pod's
# business and never admission's, so that an object means the same on every cluster.
SCHEMES = frozenset({
    *OBJECT_STORE_SCHEMES, "pvc", "file", "http", "https", "hdfs", "webhdfs", "hf", "oci", "git", "abfss",
    "model-registry",
})


@dataclass(frozen=True, kw_only=True)
class StorageUri:
    """``scheme://root/path``: ``root`` is a bucket, a claim or a host; ``path`` has no slash at either end."""

    text: str
    scheme: str
    root: str
    path: str


class Registered(NamedTuple):
    """What a model registry says of a version: where its files lie, and their digest where it is known."""

    uri: str
    digest: str


def parse(text: str) -> StorageUri:
    """Read a storageUri. Raises ``BadStorageUri``."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise BadStorageUri(f'storageUri "{text}" has no scheme', remedy=_KNOWN)
    if scheme not in SCHEMES:
        raise BadStorageUri(f'storageUri "{text}": unknown scheme "{scheme}"', remedy=_KNOWN)
    root, _, path = rest.partition("/")
    if not root and scheme != "file":
        raise BadStorageUri(f'storageUri "{text}" names nothing after "{scheme}://"')
    if any(part == ".." for part in rest.split("/")):
        raise BadStorageUri(f'storageUri "{text}" must not contain ".."')
    return StorageUri(text=text, scheme=scheme, root=root, path=path.strip("/"))


_KNOWN = "Use one of " + ", ".join(f"{scheme}://" for scheme in sorted(SCHEMES))
