"""Artifact URIs: ``minio://bucket/some/key``. Pure; stores, the engine and REST routes call me."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lightship.artifacts import errors

URI_LIMIT_CHARACTERS = 4096
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,221}")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, kw_only=True)
class Location:
    """A parsed URI. ``key`` has no leading or trailing slash and may be empty, which means the whole bucket."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}" if self.key else f"{self.scheme}://{self.bucket}"

    @property
    def name(self) -> str:
        """The last part: a file name for the artifact."""
        return self.key.rpartition("/")[2] or self.bucket


def scheme(uri: str) -> str:
    """The URI's scheme, or an empty string where it has none."""
    match = _SCHEME.match(uri)
    return match[1] if match else ""


def parse(uri: str) -> Location:
    """The parts of a bucket URI. Raises ``BadLocation`` for anything that could lead out of its bucket.

    Percent signs stand for themselves: object stores do not decode keys, so neither do we.
    """
    if len(uri) > URI_LIMIT_CHARACTERS:
        raise errors.BadLocation(f"an artifact's URI has more than {URI_LIMIT_CHARACTERS} characters")
    kind = scheme(uri)
    if not kind:
        raise errors.BadLocation(f'"{uri}" is not an artifact URI', remedy="Write it as minio://bucket/key")
    if _FORBIDDEN.search(uri):
        raise errors.BadLocation(f"{uri!r} has a control character or a backslash")
    bucket, _, key = uri[len(kind) + 3:].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise errors.BadLocation(f'"{uri}" names no bucket', remedy="Write it as minio://bucket/key")
    parts = key.rstrip("/").split("/") if key.rstrip("/") else []
    if any(part in ("", ".", "..") for part in parts):
        raise errors.BadLocation(f'"{uri}" has an empty, "." or ".." part')
    return Location(scheme=kind, bucket=bucket, key="/".join(parts))
