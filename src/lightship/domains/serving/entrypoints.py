"""The storage initializer: a built-in entrypoint that brings a model's files into the Pod before its server starts.

The node runs me as the init container ``storage-initializer`` with the arguments ``URI DIRECTORY``; I call the
artifact store. Whatever goes wrong is one last line of the log, which becomes the container's termination message and
so the InferenceService's ``lastFailureInfo``.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightship import errors
from lightship.artifacts import fetching
from lightship.artifacts.store import Entry, ObjectStore, Stores
from lightship.domains.serving import names, storage
from lightship.domains.serving.errors import NothingStored, StorageRefused

ENTRYPOINT_NAME = names.STORAGE_INITIALIZER
"""The image ``lightship.dev/<this>:<version>`` is this entrypoint."""

LIMIT_MODEL_FILES = 10_000


class Context(Protocol):
    """What the node gives an entrypoint: the blueprint's EntrypointContext, as far as I use it."""

    @property
    def pod(self) -> Mapping[str, Any]: ...

    @property
    def arguments(self) -> tuple[str, ...]:
        """The container's arguments, variables in them filled in."""
        ...

    def path(self, container_path: str) -> Path:
        """Where a path in one of the container's mounts lies on the host."""
        ...

    def log(self, line: str) -> None:
        """Write one line to the container's log."""
        ...


@dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """What this place fetches. ``file://`` reads the host's files, so it is off unless the operator says so."""

    allow_files: bool = False
    model_bytes: int = 64 * 1024**3
    """The largest model, in bytes."""


def storage_initializer(store: Stores, options: StorageOptions | None = None,
                        ) -> Callable[[Context], Awaitable[int]]:
    """The entrypoint over ``store``. Exit code 0, or 1 with the reason as the log's last line."""
    allowed = options or StorageOptions()

    async def run(context: Context) -> int:
        try:
            location, directory = _arguments(context.arguments)
            uri = storage.parse(location)
            context.log(f"fetching {uri.text}")
            own = store.within(str(context.pod["metadata"]["namespace"]))
            count = await _fetch(own, uri, context.path(directory), allowed)
        except errors.LightshipError as problem:
            context.log(str(problem))
            return 1
        except OSError as problem:
            context.log(f"could not write the model's files: {problem}")
            return 1
        context.log(f"fetched {count} file(s)")
        return 0

    return run


def _arguments(args: Sequence[str]) -> tuple[str, str]:
    if len(args) != 2:
        raise errors.InvalidInput(f"the storage initializer wants two arguments, URI and directory, got {len(args)}")
    return args[0], args[1]


async def _fetch(store: ObjectStore, uri: storage.StorageUri, directory: Path, options: StorageOptions) -> int:
    if uri.scheme == "file":
        return await asyncio.to_thread(_copy, uri, directory, options)
    if uri.scheme == "model-registry":
        raise StorageRefused(f"{uri.text}: this version does not resolve model-registry:// itself",
                             remedy="Give the model version's own artifact URI as storageUri")
    if uri.scheme not in storage.OBJECT_STORE_SCHEMES:
        raise StorageRefused(f"{uri.text}: this version does not fetch {uri.scheme}://",
                             remedy="Put the model into the artifact store and use its minio:// or s3:// URI")
    location = uri.text.rstrip("/")
    entries = await _list(store, location, uri.scheme)
    if not entries:
        raise NothingStored(f"nothing lies at {uri.text}", remedy="Check the bucket and the path")
    fetching.check(uri.text, entries, limit_files=LIMIT_MODEL_FILES, limit_bytes=options.model_bytes)
    return await fetching.fetch(store, location, entries, directory)


async def _list(store: ObjectStore, location: str, scheme: str) -> Sequence[Entry]:
    try:
        return await store.list(location, limit=LIMIT_MODEL_FILES + 1)
    except errors.Unsupported as problem:
        raise StorageRefused(f"{location}: no store for {scheme}:// is set up here",
                             remedy="Put the model into the artifact store and use its minio:// URI") from problem


def _copy(uri: storage.StorageUri, directory: Path, options: StorageOptions) -> int:
    if not options.allow_files:
        raise StorageRefused(f"{uri.text}: file:// is off here, since it reads the host's own files",
                             remedy="Put the model into the artifact store and use its minio:// URI")
    source = Path("/") / uri.root / uri.path
    if source.is_file():
        shutil.copyfile(source, directory / source.name)
        return 1
    if not source.is_dir():
        raise NothingStored(f"nothing lies at {uri.text}")
    shutil.copytree(source, directory, dirs_exist_ok=True)
    return sum(path.is_file() for path in directory.rglob("*"))
