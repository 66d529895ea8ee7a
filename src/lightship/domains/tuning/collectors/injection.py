"""What a trial's Pod needs so that a file in it can be read: a volume that a sidecar shares. Pure.

``trial.children`` calls ``amend`` for each Pod template with the trial's container. Upstream's webhook does this to
every Pod; here whoever makes the run says so in it, on any cluster alike. Metrics that are printed, served or pushed
need nothing. The sidecar is a native one: it starts before the trial, and ends after it with the Pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lightship.domains.tuning.collectors import observe, sources
from lightship.domains.tuning.experiment import defaults
from lightship.kube import objects
from lightship.kube.objects import Object

ENTRYPOINT_NAME = "metrics-collector"
IMAGE = f"lightship.dev/{ENTRYPOINT_NAME}:v1"
LOG_OF = "logs.lightship.dev/"
"""With the name of a container that the Pod lacks, the annotation that tells whose log stands for that one's."""
FILE, EVENTS = "file", "events"
"""The sidecar's first argument; then comes the path, and for event files the metrics."""


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What our sidecar is: an entrypoint of the embedded node by its image, or ``command`` of an image of ours."""

    image: str = IMAGE
    command: tuple[str, ...] = ()


EMBEDDED = Sidecar()
READY_FILE = "/tmp/metrics-collector-ready"
"""Where the program says that it hears SIGTERM: before that no trial may begin, or its end could be missed."""
LIMIT_START_SECONDS = 120
PROGRAM = ("python3", "-m", "lightship.domains.tuning.collectors.sidecar")


def amend(trial: Object, pod: Object, own: Sidecar = EMBEDDED) -> Object:
    """The Pod template with what its trial's collector needs."""
    primary = str(objects.spec(trial).get("primaryContainerName") or "")
    if sources.collector_of(trial).get("kind") in (defaults.STDOUT, None):
        metadata = objects.meta(pod)
        # SDKs ask for the log of upstream's sidecar, of which there is no need: it is the trial's own.
        return pod | {"metadata": metadata | {"annotations": {
            **objects.annotations(pod), LOG_OF + sources.LOGGER_CONTAINER: primary}}}
    folder, path = sources.folder_of(trial)
    sidecar = _sidecar(trial, path, own)
    if sidecar is None or folder == "/":
        return pod
    spec = dict(pod["spec"])
    if folder:
        mount, theirs = _mount(spec, primary, folder)
        sidecar["volumeMounts"] = [*(sidecar.get("volumeMounts") or ()), mount]
        if not theirs:
            spec["containers"] = [_mounted(one, mount) if one.get("name") == primary else one
                                  for one in spec["containers"]]
            spec["volumes"] = [*(spec.get("volumes") or ()), {"name": sources.VOLUME, "emptyDir": {}}]
    spec["initContainers"] = [*(spec.get("initContainers") or ()), sidecar]
    return pod | {"spec": spec}


def has_sidecar(trial: Object, pod: Object) -> bool:
    """Whether the Pod has the container that ``amend`` would add."""
    sidecar = _sidecar(trial, "", EMBEDDED)
    names = {one.get("name") for one in objects.spec(pod).get("initContainers") or ()}
    return sidecar is not None and sidecar["name"] in names


def _sidecar(trial: Object, path: str, own: Sidecar) -> dict[str, Any] | None:
    collector = sources.collector_of(trial)
    kind = collector.get("kind")
    if kind == defaults.CUSTOM:
        given = collector.get("customCollector")
        if not isinstance(given, Mapping) or not given.get("name"):
            return None
        return dict(given) | {"restartPolicy": "Always"}
    if kind == defaults.FILE:
        return _own(own, sources.LOGGER_CONTAINER, [FILE, path])
    if kind == defaults.EVENTS:
        metrics = observe.metric_names(objects.spec(trial).get("objective") or {})
        return _own(own, sources.COLLECTOR_CONTAINER, [EVENTS, path, *metrics])
    return None


def _own(own: Sidecar, name: str, arguments: list[str]) -> dict[str, Any]:
    command = {"command": list(own.command), "startupProbe": {
        "exec": {"command": ["test", "-e", READY_FILE]}, "periodSeconds": 1, "failureThreshold": LIMIT_START_SECONDS,
    }} if own.command else {}
    # An argument with $(NAME) in it would be expanded; $$ is a dollar.
    return {"name": name, "image": own.image, **command, "args": [one.replace("$", "$$") for one in arguments],
            "restartPolicy": "Always"}


def _mount(spec: Mapping[str, Any], primary: str, folder: str) -> tuple[dict[str, Any], bool]:
    """The mount that both containers have: the trial's own where it has one there, else one of a new volume."""
    for container in spec.get("containers") or ():
        if container.get("name") != primary:
            continue
        for mount in container.get("volumeMounts") or ():
            place = PurePosixPath(str(mount.get("mountPath") or ""))
            if place == PurePosixPath(folder) or place in PurePosixPath(folder).parents:
                return dict(mount), True
    return {"name": sources.VOLUME, "mountPath": folder}, False


def _mounted(container: Mapping[str, Any], mount: Mapping[str, Any]) -> dict[str, Any]:
    return dict(container) | {"volumeMounts": [*(container.get("volumeMounts") or ()), dict(mount)]}
