"""All that lies at a URI, brought into a directory within limits. What starts a training or a served model calls me."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightship import errors
from lightship.artifacts.store import Entry, ObjectStore


def check(location: str, entries: Sequence[Entry], *, limit_files: int, limit_bytes: int) -> None:
    """Raises ``errors.TooLarge`` for more files or bytes than may be fetched."""
    size = sum(entry.size_bytes for entry in entries)
    if len(entries) > limit_files or size > limit_bytes:
        raise errors.TooLarge(f"{location} holds {len(entries)} files of {size} bytes; at most {limit_files} files of "
                              f"{limit_bytes} bytes are fetched")


async def fetch(store: ObjectStore, location: str, entries: Sequence[Entry], directory: Path) -> int:
    """Bring ``entries``, which lie at ``location`` or below it, into ``directory``; how many there were.

    A single file keeps its name. What is there is replaced: a container that is started again fetches again.
    """
    for entry in entries:
        target = directory / (entry.uri.removeprefix(location).lstrip("/") or name(entry))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        await store.get(entry.uri, target)
    return len(entries)


def name(entry: Entry) -> str:
    """The last part of an entry's URI."""
    return entry.uri.rpartition("/")[2]
