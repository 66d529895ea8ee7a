"""The dataset and model initializers: built-in entrypoints that bring files to ``/workspace`` before a training starts.

The node runs me for upstream's images of that name, with their variables: ``STORAGE_URI``, and ``IGNORE_PATTERNS``. I
call the artifact store, as the Pod's namespace sees it. Whatever goes wrong is the last line of the log.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lightship import errors
from lightship.artifacts.store import Entry, ObjectStore, Stores
from lightship.domains.training import names

LIMIT_FILES = 10_000
LIMIT_BYTES = 64 * 1024**3
_DIRECTORIES = {kind: f"/workspace/{part}" for part, kind in names.INITIALIZERS.items()}
_MODEL_IGNORED = "*.msgpack,*.h5,*.bin,*.pt,*.pth"
"""What upstream's model initializer leaves out unless told otherwise."""


class Context(Protocol):
    """What the node gives an entrypoint, as far as I use it."""

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def pod(self) -> Mapping[str, object]: ...

    def path(self, container_path: str) -> Path: ...

    def log(self, line: str) -> None: ...


Entrypoint = Callable[[Context], Awaitable[int]]


def entrypoints(stores: Stores) -> dict[str, Entrypoint]:
    """Both, by the names of their images. Exit code 0, or 1 with the reason as the log's last line."""
    return {kind: _entrypoint(kind, stores) for kind in names.INITIALIZERS.values()}


def _entrypoint(kind: str, stores: Stores) -> Entrypoint:
    async def run(context: Context) -> int:
        try:
            metadata = context.pod["metadata"]
            assert isinstance(metadata, Mapping)
            location = context.env.get(names.STORAGE_URI, "").rstrip("/")
            if not location:
                raise errors.InvalidInput(f"{names.STORAGE_URI} is not set",
                                          remedy="Give the TrainJob's initializer a storageUri")
            context.log(f"fetching {location}")
            ignored = context.env.get("IGNORE_PATTERNS", _MODEL_IGNORED if kind == names.MODEL_INITIALIZER
                                              else "")
            count = await _fetch(stores.within(str(metadata["namespace"])), location,
                                 context.path(_DIRECTORIES[kind]), [one for one in ignored.split(",") if one])
        except errors.LightshipError as problem:
            context.log(str(problem))
            return 1
        except OSError as problem:
            context.log(f"could not write what was fetched: {problem}")
            return 1
        context.log(f"fetched {count} file(s)")
        return 0

    return run


async def _fetch(store: ObjectStore, location: str, directory: Path, ignored: Sequence[str]) -> int:
    entries = await store.list(location, limit=LIMIT_FILES + 1)
    if not entries:
        raise errors.NotFound(f"nothing lies at {location}", remedy="Check the bucket and the path")
    size = sum(entry.size_bytes for entry in entries)
    if len(entries) > LIMIT_FILES or size > LIMIT_BYTES:
        raise errors.TooLarge(f"{location} holds {len(entries)} files of {size} bytes; at most {LIMIT_FILES} files of "
                              f"{LIMIT_BYTES} bytes are fetched")
    wanted = [entry for entry in entries if not any(fnmatch.fnmatch(_name(entry), one) for one in ignored)]
    for entry in wanted:
        below = entry.uri.removeprefix(location).lstrip("/") or _name(entry)
        target = directory / below
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a container that is started again fetches again
        await store.get(entry.uri, target)
    return len(wanted)


def _name(entry: Entry) -> str:
    return entry.uri.rpartition("/")[2]
