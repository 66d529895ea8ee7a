"""The dataset and model initializers: built-in entrypoints that bring files to ``/workspace`` before a training starts.

The node runs me for upstream's images of that name, with their variables: ``STORAGE_URI``, and ``IGNORE_PATTERNS``. I
call the artifact store, as the Pod's namespace sees it. Whatever goes wrong is the last line of the log.
"""

from __future__ import annotations

import fnmatch
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from lightship import errors
from lightship.artifacts import fetching, placing
from lightship.artifacts.store import Entry, Stores
from lightship.domains.training import names, sources

LIMIT_FILES = 10_000
LIMIT_BYTES = 64 * 1024**3
_DIRECTORIES = {kind: f"/workspace/{part}" for part, kind in names.INITIALIZERS.items()}
_MODEL_IGNORED = "*.msgpack,*.h5,*.bin,*.pt,*.pth"
"""What upstream's model initializer leaves out unless told otherwise."""
_MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.gguf")
"""What it takes of a model on the hub."""
_HUB = "hf://"


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
            await _initialize(kind, stores, context)
        except errors.LightshipError as problem:
            context.log(str(problem))
            return 1
        except OSError as problem:
            context.log(f"could not write what was fetched: {problem}")
            return 1
        return 0

    return run


async def _initialize(kind: str, stores: Stores, context: Context) -> None:
    location = context.env.get(names.STORAGE_URI, "").rstrip("/")
    if not location:
        raise errors.InvalidInput(f"{names.STORAGE_URI} is not set",
                                  remedy="Give the TrainJob's initializer a storageUri")
    target = _target(context, _DIRECTORIES[kind])
    context.log(f"fetching {location}")
    source = await _source(kind, location, stores, context)
    ignored = context.env.get("IGNORE_PATTERNS", _MODEL_IGNORED if kind == names.MODEL_INITIALIZER else "")
    wanted = _wanted(source, [one for one in ignored.split(",") if one])
    if target is None:
        context.log(f"no volume is mounted at {_DIRECTORIES[kind]}: the {len(wanted)} file(s) would be gone with this "
                    "container, so they are not fetched")
        return
    root, below = target
    for relative, entry in wanted:
        await placing.write(root, f"{below}{relative}", partial(source.stream, entry.uri))
    context.log(f"fetched {len(wanted)} file(s)")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What lies somewhere, and how to read it. ``only`` are the patterns of files that are meant at all."""

    location: str
    entries: Sequence[Entry]
    stream: Callable[[str], Awaitable[tuple[int, AsyncIterator[bytes]]]]
    only: tuple[str, ...] = ()


async def _source(kind: str, location: str, stores: Stores, context: Context) -> Source:
    if location.startswith(_HUB):
        return await _of_hub(kind, location.removeprefix(_HUB), context.env)
    metadata = context.pod["metadata"]
    assert isinstance(metadata, Mapping)
    store = sources.with_keys(location, context.env) or stores.within(str(metadata["namespace"]))
    return Source(location=location, entries=await store.list(location, limit=LIMIT_FILES + 1), stream=store.stream)


async def _of_hub(kind: str, path: str, env: Mapping[str, str]) -> Source:
    from lightship.artifacts import hub

    token = env.get("HF_TOKEN") or env.get("ACCESS_TOKEN") or ""
    is_data = kind == names.DATASET_INITIALIZER
    repository = "/".join(path.split("/")[:2]) if is_data else path
    found = hub.Hub("datasets" if is_data else "models", repository, token)
    return Source(location=f"{_HUB}{repository}", entries=await found.files(LIMIT_FILES + 1), stream=found.stream,
                  only=() if is_data else _MODEL_FILES)


def _wanted(source: Source, ignored: Sequence[str]) -> list[tuple[str, Entry]]:
    """The files to bring, each with its place: a single one keeps its name. Raises ``errors.LightshipError``."""
    if not source.entries:
        raise errors.NotFound(f"nothing lies at {source.location}", remedy="Check the bucket and the path")
    fetching.check(source.location, source.entries, limit_files=LIMIT_FILES, limit_bytes=LIMIT_BYTES)
    return [(entry.uri.removeprefix(source.location).lstrip("/") or fetching.name(entry), entry)
            for entry in source.entries if not any(fnmatch.fnmatch(fetching.name(entry), one) for one in ignored)
            and (not source.only or any(fnmatch.fnmatch(fetching.name(entry), one) for one in source.only))]


def _target(context: Context, directory: str) -> tuple[Path, str] | None:
    """The volume, and the place in it; none where no volume is mounted there.

    Only what the node made is trusted to be no link: the volume's own directory, not one inside it.
    """
    try:
        whole = context.path(directory)
    except errors.InvalidInput:
        return None
    parent, _, name = directory.rpartition("/")
    try:
        above = context.path(parent)
    except errors.InvalidInput:
        return whole, ""
    return (above, f"{name}/") if above / name == whole else (whole, "")
