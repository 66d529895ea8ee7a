"""URL paths as targets: which kind, namespace, name and subresource a request is about. Pure; ``server`` calls me."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from lightship import errors
from lightship.cluster.apiserver.registry import Registry, Served

LIMIT_PATH_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """What a resource request is about. No ``name``: the collection; no ``namespace``: all, or cluster-scoped."""

    served: Served
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows the subresource: the path behind a ``proxy``."""


def parse(path: str, registry: Registry) -> Target | None:
    """The target of a path below ``/api/VERSION`` or ``/apis/GROUP/VERSION``; None for any other path.

    Raises ``errors.NotFound`` for a kind that is not served.
    """
    if len(path) > LIMIT_PATH_CHARACTERS:
        raise errors.BadRequest(f"a path may have {LIMIT_PATH_CHARACTERS} characters")
    parts = path.split("/")
    if "%" in path:
        parts = [unquote(part, errors="replace") for part in parts]
        if any("/" in part or "\x00" in part for part in parts):
            raise errors.BadRequest("a name may not contain '/' or a zero byte")
    if parts[1:2] == ["api"]:
        group, version, rest = "", parts[2:3], parts[3:]
    elif parts[1:2] == ["apis"]:
        group, version, rest = "".join(parts[2:3]), parts[3:4], parts[4:]
    else:
        return None
    if not version or not rest or rest == [""]:
        return None
    return _target(group, version[0], rest, registry)


def _target(group: str, version: str, rest: list[str], registry: Registry) -> Target:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize", ""):
        namespace, rest = rest[1], rest[2:]
        if not namespace:
            raise errors.NotFound("the path names an empty namespace")
    served = registry.find(group, version, rest[0])
    if served is None:
        raise errors.NotFound("the server could not find the requested resource")
    if namespace and not served.resource.namespaced:
        raise errors.NotFound(f"{served.resource.plural} are not namespaced")
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    behind = rest[3:]
    if name and served.resource.namespaced and not namespace and served.persistent:
        raise errors.NotFound(f"{served.resource.plural} are namespaced: name the namespace in the path")
    if subresource and subresource not in served.resource.subresources:
        raise errors.NotFound("the server could not find the requested resource")
    if behind and subresource != "proxy" and behind != [""]:
        raise errors.NotFound("the server could not find the requested resource")
    return Target(served, namespace, name, subresource, "/".join(behind))
