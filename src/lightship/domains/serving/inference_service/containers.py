"""How the containers of a runtime and of an InferenceService become those of one Pod: upstream's rules. Pure.

``templates`` calls me. The service's fields win; environment, mounts and ports merge by their keys, maps key by key;
arguments are added at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightship.domains.serving import names
from lightship.kube import objects, strategic
from lightship.kube.objects import Object

_PLACEHOLDER = re.compile(r"\{\{\s*\.([A-Za-z]+)(?:\.([-A-Za-z0-9_]+))?\s*\}\}|"
                          r"\{\{\s*index\s+\.(Labels|Annotations)\s+\\?\"([^\"\\]+)\\?\"\s*\}\}")
TRANSFORMER_CONTAINER = "transformer-container"


class _Lists:
    """By which key the lists of a container or of a Pod merge."""

    def __init__(self, keys: Mapping[str, str | None]) -> None:
        self._keys = keys

    def key(self, field: str) -> str | None:
        return self._keys.get(field)

    def below(self, field: str) -> _Lists:
        return _CONTAINER if field in ("containers", "initContainers") else _PLAIN


_PLAIN = _Lists({})
_CONTAINER = _Lists({"env": "name", "volumeMounts": "mountPath", "ports": "containerPort",
                     "volumeDevices": "devicePath", "resizePolicy": "resourceName"})
_POD = _Lists({"volumes": "name", "imagePullSecrets": "name", "hostAliases": "ip", "initContainers": "name",
               "topologySpreadConstraints": "topologyKey", "resourceClaims": "name", "schedulingGates": "name"})


def merge_container(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """``over`` laid over a runtime's container. Raises ``errors.InvalidInput`` for lists without their keys."""
    merged: Object = strategic.merge(dict(base), dict(over), lists=_CONTAINER)
    arguments = [*(base.get("args") or ()), *(over.get("args") or ())]
    if arguments:
        merged["args"] = arguments
    return merged


def merge_pod(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """A component's Pod fields laid over its runtime's. Raises ``errors.InvalidInput``."""
    merged: Object = strategic.merge(dict(base), dict(over), lists=_POD)
    return merged


def main(containers: Sequence[Object]) -> Object:
    """The container that serves: upstream's name, else the first."""
    return next((container for container in containers if container.get("name") == names.CONTAINER), containers[0])


def entrance(containers: Sequence[Object]) -> Object:
    """The container that requests come to: a transformer in the predictor's own Pod goes before it."""
    return next((container for container in containers if container.get("name") == TRANSFORMER_CONTAINER),
                main(containers))


def port_of(containers: Sequence[Object]) -> int:
    ports = entrance(containers).get("ports") or ()
    return int(ports[0].get("containerPort") or names.HTTP_PORT) if ports else names.HTTP_PORT


def with_environment(container: Object, **variables: str) -> Object:
    """The container with these variables, in place of any others of their names."""
    kept = [entry for entry in container.get("env") or () if entry.get("name") not in variables]
    return container | {"env": [*kept, *({"name": name, "value": value} for name, value in variables.items())]}


def with_argument(container: Object, flag: str, value: str) -> Object:
    """The container with ``flag value`` at the end, unless its arguments speak of the flag."""
    arguments = list(container.get("args") or ())
    if any(str(argument) == flag or str(argument).startswith(f"{flag}=") for argument in arguments):
        return container
    return container | {"args": [*arguments, flag, value]}


def filled(container: Object, service: Object) -> Object:
    """A runtime's container with upstream's placeholders filled in: ``{{.Name}}``, ``{{.Labels.x}}``."""
    values: dict[str, Any] = {"Name": objects.name(service), "Namespace": objects.namespace(service),
                              "Labels": objects.labels(service), "Annotations": objects.annotations(service)}

    def fill(match: re.Match[str]) -> str:
        if match[3]:
            return str(values[match[3]].get(match[4], ""))
        value = values.get(match[1], match[0])
        if isinstance(value, Mapping):
            return str(value.get(match[2], ""))
        return str(value)

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return _PLACEHOLDER.sub(fill, value)
        if isinstance(value, Mapping):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return value

    result: Object = walk(container)
    return result


def versioned(image: str, version: str) -> str:
    """The image with another tag; one that is named by its digest stays."""
    if "@sha256:" in image:
        return image
    head, slash, last = image.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}:{version}"
