"""Who a container of an image is: what its Pod says, or else its image. Pure; ``launch`` calls me."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.cluster.node.engines import words
from lightship.cluster.node.engines.arguments import User
from lightship.cluster.node.errors import ConfigError
from lightship.kube import objects
from lightship.kube.objects import Object


def user_of(pod: Object, container: Mapping[str, Any], image_user: str) -> User:
    """Raises ``ConfigError`` where the container must not be root, and is or may be."""
    merged = {**(objects.spec(pod).get("securityContext") or {}), **(container.get("securityContext") or {})}
    uid, gid = merged.get("runAsUser"), merged.get("runAsGroup")
    if merged.get("runAsNonRoot"):
        _check_not_root(uid, image_user)
    fs_group = merged.get("fsGroup")
    groups = (*(merged.get("supplementalGroups") or ()), *((fs_group,) if fs_group is not None else ()))
    who = str(uid) if uid is not None else image_user.partition(":")[0]
    if gid is not None:
        flag = f"{who or 0}:{gid}"
    else:
        flag = who if uid is not None else image_user
    return User(flag=flag, groups=groups)


def _check_not_root(uid: int | None, image_user: str) -> None:
    if uid == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    if uid is not None:
        return
    name = image_user.partition(":")[0]
    if name in ("", "0", "root"):
        raise words.image_runs_as_root()
    if not name.isdigit():
        raise words.image_user_has_no_number(name)
