"""A Pod's volumes as directories of this machine.

``supervisor`` calls me before the first container; ``inside/sandbox.py`` binds what I made. emptyDirs live in the
Pod's own directory and go with it; claims live under ``<node>/volumes`` and stay.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.client.client import Client
from lightship.cluster.node import plan, reclaim, variables, volume_files
from lightship.cluster.node.errors import ConfigError, StartError
from lightship.cluster.node.volume_files import Files
from lightship.kube import objects, quantities
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, SECRETS

SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
SERVICE_ACCOUNT_VOLUME = "kube-api-access"
TOKEN_SECONDS = 3607
ROOT_CA = "kube-root-ca.crt"

_SHOWN = ("configMap", "secret", "downwardAPI", "projected")
_log = logging.getLogger(__name__)
_SAFE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*)\Z")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One volume that is ready. ``path`` is empty for memory, whose limit is ``size_bytes`` (0 for none)."""

    path: str
    size_bytes: int = 0
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class VolumeSource:
    """What making volumes needs. ``token`` mints a ServiceAccount's token for an audience and seconds."""

    client: Client
    pods_directory: Path
    claims_directory: Path
    token: Callable[[Object, str, int], Awaitable[str]]
    memory_bytes: int = 0
    """The node's own, beyond which no volume that is memory may grow; 0 where it is not known."""
    own_memory: bool = False
    """Whether memory can only be had for a container alone, as an engine gives it; else ``commons`` lays it over the
    volume's directory."""


async def make(pod: Object, source: VolumeSource) -> dict[str, Volume]:
    """Every volume of the Pod by name. Raises ``StartError`` with what is missing."""
    made = {}
    for volume in objects.spec(pod).get("volumes") or ():
        made[volume["name"]] = await _one(pod, volume, source)
    return made


async def service_account_volume(pod: Object, source: VolumeSource) -> Volume | None:
    """The volume with the Pod's own credentials, or None where the server knows no such ServiceAccount."""
    projected = {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": ROOT_CA, "optional": True, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}
    try:
        files = await _projected(pod, projected, source)
    except errors.NotFound:
        return None
    return _files(pod, _directory(pod, SERVICE_ACCOUNT_VOLUME, source), files)


async def warm_credentials(pod: Object, source: VolumeSource) -> None:
    """Has the Pod's token minted ahead of its volume."""
    await source.token(pod, "", TOKEN_SECONDS)


async def _one(pod: Object, volume: Mapping[str, Any], source: VolumeSource) -> Volume:
    name = volume["name"]
    if not _SAFE.match(name):
        raise ConfigError(f'"{name}" is not a volume name')
    if volume.get("emptyDir") is not None:
        return _empty(pod, volume, source)
    if volume.get("persistentVolumeClaim") is not None:
        return await _claim(pod, volume["persistentVolumeClaim"], source)
    if volume.get("ephemeral") is not None:
        return await _claim(pod, {"claimName": f"{objects.name(pod)}-{name}", "own": True}, source)
    if (reference := volume.get("configMap")) is not None:
        files = await _keyed(pod, "configmap", reference, source)
    elif (reference := volume.get("secret")) is not None:
        files = await _keyed(pod, "secret", {"name": reference.get("secretName")} | reference, source)
    elif (reference := volume.get("downwardAPI")) is not None:
        files = _downward(pod, reference)
    elif (reference := volume.get("projected")) is not None:
        files = await _projected(pod, reference, source)
    elif volume.get("hostPath") is not None:
        raise StartError("CreateContainerConfigError", f'the hostPath volume "{name}" is refused: Pods on this node do '
                         "not see the host's files", remedy="Use a persistentVolumeClaim")
    else:
        kinds = ", ".join(sorted(set(volume) - {"name"})) or "nothing"
        raise StartError("CreateContainerConfigError",
                         f'the volume "{name}" is of a kind that this node does not have: {kinds}')
    return _files(pod, _directory(pod, name, source), files)


def _directory(pod: Object, name: str, source: VolumeSource) -> Path:
    directory = source.pods_directory / objects.uid(pod) / "volumes" / name
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _empty(pod: Object, volume: Mapping[str, Any], source: VolumeSource) -> Volume:
    spec = volume["emptyDir"]
    limit = quantities.whole(spec["sizeLimit"]) if spec.get("sizeLimit") else 0
    directory = _directory(pod, volume["name"], source)
    directory.chmod(0o777)
    if (group := fs_group(pod)) is not None:
        os.chown(directory, -1, group)
        directory.chmod(0o2777)
    if spec.get("medium") == "Memory" and source.own_memory and len(objects.spec(pod)["containers"]) == 1 \
            and not objects.spec(pod).get("initContainers"):
        return Volume(path="", size_bytes=memory_limit_bytes(pod, volume, source.memory_bytes))
    return Volume(path=str(directory), size_bytes=limit)


def memory_limit_bytes(pod: Object, volume: Mapping[str, Any], node_bytes: int) -> int:
    """How large a memory volume may grow: the least of its own limit, what its Pod may use and what the node has.

    Without a size a tmpfs may take half of the machine, and two such volumes all of it. 0 where nothing bounds it.
    """
    asked = volume["emptyDir"].get("sizeLimit")
    limits = [((container.get("resources") or {}).get("limits") or {}).get("memory")
              for container in plan.containers(pod)]
    bounds = [node_bytes, quantities.whole(asked) if asked else 0]
    if limits and None not in limits:
        bounds.append(sum(quantities.whole(limit) for limit in limits if limit is not None))
    return min((bound for bound in bounds if bound > 0), default=0)


async def _claim(pod: Object, reference: Mapping[str, Any], source: VolumeSource) -> Volume:
    """A claim's directory. One that was made for an ``ephemeral`` volume must be the Pod's own."""
    namespace, name = objects.namespace(pod), reference["claimName"]
    try:
        claim = await source.client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
    except errors.NotFound as error:
        raise StartError("ContainerCreating", f'persistentvolumeclaim "{name}" not found') from error
    if reference.get("own") and (objects.controller_of(claim) or {}).get("uid") != objects.uid(pod):
        raise StartError("CreateContainerConfigError", f'PVC "{name}" was not created for the pod '
                         f'"{objects.key(pod)}", so its ephemeral volume cannot be had',
                         remedy="Rename the Pod, its volume or the claim")
    bound = str(objects.spec(claim).get("volumeName") or "")
    directory = await _bound_directory(bound, source) if bound else source.claims_directory / namespace / name
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)
    if not bound and objects.status(claim).get("phase") != "Bound":
        spec = objects.spec(claim)
        status = {"phase": "Bound", "accessModes": spec.get("accessModes") or [],
                  "capacity": (spec.get("resources") or {}).get("requests") or {}}
        await source.client.patch(PERSISTENT_VOLUME_CLAIMS, objects.key(claim), {"status": status},
                                  subresource="status")
    return Volume(path=str(directory), read_only=bool(reference.get("readOnly")))


async def _bound_directory(name: str, source: VolumeSource) -> Path:
    """The directory that a PersistentVolume is."""
    try:
        volume = await source.client.get(PERSISTENT_VOLUMES, name)
    except errors.NotFound as error:
        raise StartError("ContainerCreating", f'persistentvolume "{name}" not found') from error
    found = reclaim.directory(volume, source.claims_directory)
    if found is None:
        raise StartError("CreateContainerConfigError", f'the persistentvolume "{name}" is of a kind that this node '
                         "does not have", remedy='Use a claim of the storage class "standard"')
    return found


async def _keyed(pod: Object, kind: str, reference: Mapping[str, Any], source: VolumeSource) -> Files:
    resource = CONFIGMAPS if kind == "configmap" else SECRETS
    try:
        obj = await source.client.get(resource, reference["name"], objects.namespace(pod))
    except errors.NotFound as error:
        if reference.get("optional"):
            return {}
        raise StartError("ContainerCreating", f'MountVolume.SetUp failed: {kind} "{reference["name"]}" not found') \
            from error
    values = variables.config_map_values(obj) if kind == "configmap" else variables.secret_values(obj)
    mode = int(reference.get("defaultMode", 0o644))
    if not reference.get("items"):
        return {key: (value, mode) for key, value in values.items()}
    files = {}
    for item in reference["items"]:
        if item["key"] in values:
            files[item["path"]] = (values[item["key"]], int(item.get("mode", mode)))
        elif not reference.get("optional"):
            raise StartError("ContainerCreating", f"MountVolume.SetUp failed: references non-existent {kind} key: "
                             f"{item['key']}")
    return files


def _downward(pod: Object, reference: Mapping[str, Any]) -> Files:
    mode = int(reference.get("defaultMode", 0o644))
    files = {}
    for item in reference.get("items") or ():
        if item.get("fieldRef"):
            value = variables.field_value(pod, item["fieldRef"]["fieldPath"])
        else:
            value = variables.resource_value(pod, {}, item["resourceFieldRef"], {})
        files[item["path"]] = (value.encode(), int(item.get("mode", mode)))
    return files


async def _projected(pod: Object, reference: Mapping[str, Any], source: VolumeSource) -> Files:
    mode = int(reference.get("defaultMode", 0o644))
    files: Files = {}
    for part in reference.get("sources") or ():
        if token := part.get("serviceAccountToken"):
            minted = await source.token(pod, token.get("audience") or "", int(token.get("expirationSeconds") or 3600))
            files[token["path"]] = (minted.encode(), mode)
        elif held := part.get("configMap"):
            files |= await _keyed(pod, "configmap", {"defaultMode": mode} | held, source)
        elif held := part.get("secret"):
            files |= await _keyed(pod, "secret", {"defaultMode": mode} | held, source)
        elif held := part.get("downwardAPI"):
            files |= _downward(pod, {"defaultMode": mode} | held)
    return files


async def refresh(pod: Object, source: VolumeSource, *, credentials: bool) -> None:
    """Brings what the Pod's volumes show up to date, each volume at once. What is gone stays as it was last."""
    for volume in objects.spec(pod).get("volumes") or ():
        if any(volume.get(kind) is not None for kind in _SHOWN):
            try:
                await _one(pod, volume, source)
            except StartError as error:
                _log.info("a volume stays as it was", extra={"pod": str(objects.key(pod)), "volume": volume["name"],
                                                             "cause": str(error)})
    if credentials:
        await service_account_volume(pod, source)


def changes(pod: Object) -> bool:
    """Whether the Pod has volumes that show what may change."""
    return any(volume.get(kind) is not None for volume in objects.spec(pod).get("volumes") or () for kind in _SHOWN)


def fs_group(pod: Object) -> int | None:
    """The group that owns the Pod's volumes, where this process can give files away."""
    group = (objects.spec(pod).get("securityContext") or {}).get("fsGroup")
    return int(group) if group is not None and os.geteuid() == 0 else None


def _files(pod: Object, directory: Path, files: Files) -> Volume:
    volume_files.write(directory, files, fs_group(pod))
    return Volume(path=str(directory), read_only=True)


def check_sub_path(relative: str) -> None:
    """Raises ``ConfigError`` for what is no path inside a volume. Links in it are looked at when it is mounted."""
    if os.path.isabs(relative) or ".." in Path(relative).parts:
        raise ConfigError(f'subPath "{relative}" leads out of its volume')


def sub_path(volume: str, relative: str) -> str:
    """The host path of ``subPath``, made as a directory if missing; never outside the volume. Raises ConfigError."""
    target = os.path.realpath(os.path.join(volume, relative))
    root = os.path.realpath(volume)
    if os.path.isabs(relative) or ".." in Path(relative).parts or not (target == root or target.startswith(root + "/")):
        raise ConfigError(f'subPath "{relative}" leads out of its volume')
    if not os.path.exists(target):
        os.makedirs(target, exist_ok=True)
        os.chmod(target, 0o777)
    return target
