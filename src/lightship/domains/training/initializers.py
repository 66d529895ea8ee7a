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
from lightship.artifacts import fetching
from lightship.artifacts.store import ObjectStore, Stores
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
    fetching.check(location, entries, limit_files=LIMIT_FILES, limit_bytes=LIMIT_BYTES)
    wanted = [entry for entry in entries if not any(fnmatch.fnmatch(fetching.name(entry), one) for one in ignored)]
    return await fetching.fetch(store, location, wanted, directory)
