"""The storage initializer: a built-in entrypoint that brings a model's files into the Pod before its server starts.

The node runs me as the init container ``storage-initializer`` with the arguments ``URI DIRECTORY``, which may come
several times; ``places`` knows who is asked, and the cache brings it. Whatever goes wrong is one last line of the log,
which becomes the container's termination message and so the InferenceService's ``lastFailureInfo``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightship import errors
from lightship.artifacts.cache import Cache, Wish
from lightship.domains.serving import names, places

ENTRYPOINT_NAME = names.STORAGE_INITIALIZER
"""The image ``lightship.dev/<this>:<version>`` is this entrypoint."""

LIMIT_LOCATIONS = 32
_OWN_IMAGES = (f"lightship.dev/{names.STORAGE_INITIALIZER}:", "lightship.dev/model-agent:")
"""What runs in the node's process and not in the Pod."""
_OWN_SCHEMES = ("minio://", "file://")
"""What no Secret is looked up for: the platform's own store, and the machine's own folders."""


class Context(Protocol):
    """What the node gives an entrypoint: the blueprint's EntrypointContext, as far as I use it."""

    @property
    def pod(self) -> Mapping[str, Any]: ...

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def container(self) -> Mapping[str, Any]: ...

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


class Secrets(Protocol):
    """Where a Pod's own keys are."""

    async def of(self, pod: Mapping[str, Any]) -> dict[str, str]: ...


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """What models are fetched with: the platform's stores, the cache, and the keys of accounts where there are such."""

    platform: places.Platform
    cache: Cache
    secrets: Secrets | None = None

    async def variables(self, context: Context, uri: str) -> dict[str, str]:
        """The container's own variables before those of the account."""
        brought = {} if self.secrets is None or uri.startswith(_OWN_SCHEMES) else await self.secrets.of(context.pod)
        return {**brought, **context.env}


def storage_initializer(fetching: Fetching) -> Callable[[Context], Awaitable[int]]:
    """The entrypoint. Exit code 0, or 1 with the reason as the log's last line."""
    async def run(context: Context) -> int:
        try:
            for uri, directory in _arguments(context.arguments):
                await bring(fetching, context, uri, context.path(directory), mounted=directory)
        except errors.LightshipError as problem:
            context.log(str(problem))
            return 1
        except OSError as problem:
            context.log(f"could not write the model's files: {problem}")
            return 1
        return 0

    return run


async def bring(fetching: Fetching, context: Context, uri: str, folder: Path, *, mounted: str) -> None:
    """Bring what lies at a storageUri into a folder of one of the container's mounts. Raises ``LightshipError``."""
    namespace = str(context.pod["metadata"]["namespace"])
    context.log(f"fetching {uri}")
    place = await places.find(uri, namespace, await fetching.variables(context, uri), fetching.platform)
    brought = await fetching.cache.bring(
        Wish(source=place.source, owner=namespace, folder=folder, digest=place.digest,
             share=only_readers(context.pod, context.container, mounted)), context.log)
    how = "" if brought.downloaded else ", all from the cache"
    context.log(f"fetched {brought.files} file(s), {brought.size_bytes} bytes{how}")


def only_readers(pod: Mapping[str, Any], initializer: Mapping[str, Any], path: str) -> bool:
    """Whether nothing else in the Pod can write to the volume that the initializer has mounted at ``path``. Pure.

    Then its files may be the cache's own; a Pod that may write gets copies.
    """
    mounts = [mount for mount in initializer.get("volumeMounts") or ()
              if path == mount.get("mountPath") or path.startswith(str(mount.get("mountPath")).rstrip("/") + "/")]
    if not mounts:
        return False
    volume = max(mounts, key=lambda mount: len(str(mount.get("mountPath")))).get("name")
    spec = pod.get("spec") or {}
    everybody = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ()),
                 *(spec.get("ephemeralContainers") or ())]
    return all(mount.get("readOnly") for container in everybody if not _is_ours(container)
               for mount in container.get("volumeMounts") or () if mount.get("name") == volume)


def _is_ours(container: Mapping[str, Any]) -> bool:
    return str(container.get("image", "")).startswith(_OWN_IMAGES)


def _arguments(args: Sequence[str]) -> list[tuple[str, str]]:
    if not args or len(args) % 2 or len(args) > 2 * LIMIT_LOCATIONS:
        raise errors.InvalidInput(f"the storage initializer wants two arguments, URI and directory, or such pairs; "
                                  f"got {len(args)}")
    return list(zip(args[::2], args[1::2], strict=True))
