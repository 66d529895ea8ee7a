"""A container's environment variables, as kubelet makes them. Pure; ``plan`` calls me.

ConfigMaps and Secrets come as arguments; what is missing and not optional is a ``ConfigError`` with kubelet's words.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING
from typing import Any

import msgspec

from lightship.cluster.node.errors import ConfigError
from lightship.kube import objects, quantities
from lightship.kube.objects import Object

_KEY = re.compile(r"(metadata\.(?:labels|annotations))\['(.+)'\]\Z")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a Pod's spec refers to, by name; a name that maps to None was looked for and is not there."""

    config_maps: Mapping[str, Object | None] = field(default_factory=dict)
    secrets: Mapping[str, Object | None] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """The node's resources: what a container without a limit may use."""


def referred(spec: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The names of the ConfigMaps and Secrets that a Pod's containers take variables from."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for source in container.get("envFrom") or ():
            if source.get("configMapRef"):
                config_maps.add(source["configMapRef"]["name"])
            if source.get("secretRef"):
                secrets.add(source["secretRef"]["name"])
        for variable in container.get("env") or ():
            value_from = variable.get("valueFrom") or {}
            if value_from.get("configMapKeyRef"):
                config_maps.add(value_from["configMapKeyRef"]["name"])
            if value_from.get("secretKeyRef"):
                secrets.add(value_from["secretKeyRef"]["name"])
    return config_maps, secrets


def resolve(pod: Object, container: Mapping[str, Any], sources: Sources, base: Mapping[str, str]) -> dict[str, str]:
    """``base``, then ``envFrom``, then ``env`` with ``$(NAME)`` expanded from what came before. Raises ConfigError."""
    result = {**base, **devices(pod, container)}
    for source in container.get("envFrom") or ():
        result.update(_env_from(pod, source, sources))
    for variable in container.get("env") or ():
        if variable.get("valueFrom"):
            value = _value_from(pod, container, variable["valueFrom"], sources)
            if value is not None:
                result[variable["name"]] = value
        else:
            result[variable["name"]] = expand(variable.get("value") or "", result)
    return result


DEVICES = "lightship.dev/devices"
"""The scheduler's word on which devices a Pod has: ``{"nvidia.com/gpu": [0, 1]}``."""
GPUS = "nvidia.com/gpu"


def devices(pod: Object, container: Mapping[str, Any]) -> dict[str, str]:
    """What tells a container which of the Pod's GPUs are its own: as many as it asks for, in the containers' order."""
    try:
        said = msgspec.json.decode(objects.annotations(pod).get(DEVICES, "{}"), type=dict[str, list[int]])
    except msgspec.DecodeError:
        return {}  # a person wrote that
    given = said.get(GPUS, [])
    start = 0
    for other in objects.spec(pod).get("containers") or ():
        wanted = _gpus(other)
        if other.get("name") == container.get("name"):
            numbers = ",".join(str(number) for number in given[start:start + wanted])
            return {"CUDA_VISIBLE_DEVICES": numbers, "NVIDIA_VISIBLE_DEVICES": numbers} if numbers else {}
        start += wanted
    return {}


def _gpus(container: Mapping[str, Any]) -> int:
    amounts = container.get("resources") or {}
    asked = {**(amounts.get("limits") or {}), **(amounts.get("requests") or {})}
    return quantities.whole(asked.get(GPUS) or 0)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced where NAME is known, ``$$`` a dollar, anything else as it stands."""
    return "".join(_expanded(text, variables))


def _expanded(text: str, variables: Mapping[str, str]) -> Iterator[str]:
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        yield text[position:dollar]
        following = text[dollar + 1: dollar + 2]
        close = text.find(")", dollar) if following == "(" else -1
        if following == "$":
            yield "$"
            position = dollar + 2
        elif close > 0:
            name = text[dollar + 2: close]
            yield variables.get(name, text[dollar: close + 1])
            position = close + 1
        else:
            yield "$"
            position = dollar + 1
    yield text[position:]


def secret_values(secret: Object) -> dict[str, bytes]:
    values = {key: base64.b64decode(value or "") for key, value in (secret.get("data") or {}).items()}
    return values | {key: value.encode() for key, value in (secret.get("stringData") or {}).items()}


def config_map_values(config_map: Object) -> dict[str, bytes]:
    values = {key: value.encode() for key, value in (config_map.get("data") or {}).items()}
    return values | {key: base64.b64decode(value) for key, value in (config_map.get("binaryData") or {}).items()}


def _env_from(pod: Object, source: Mapping[str, Any], sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    if reference := source.get("configMapRef"):
        found = sources.config_maps.get(reference["name"])
        if found is None and not reference.get("optional"):
            raise ConfigError(f'configmap "{reference["name"]}" not found')
        values: Mapping[str, bytes] = config_map_values(found) if found else {}
    elif reference := source.get("secretRef"):
        found = sources.secrets.get(reference["name"])
        if found is None and not reference.get("optional"):
            raise ConfigError(f'secret "{reference["name"]}" not found')
        values = secret_values(found) if found else {}
    else:
        values = {}
    return {prefix + key: value.decode(errors="surrogateescape") for key, value in values.items()}


def _value_from(pod: Object, container: Mapping[str, Any], source: Mapping[str, Any], sources: Sources) -> str | None:
    if reference := source.get("configMapKeyRef"):
        return _keyed("configmap", reference, sources.config_maps, config_map_values, pod)
    if reference := source.get("secretKeyRef"):
        return _keyed("secret", reference, sources.secrets, secret_values, pod)
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return resource_value(pod, container, reference, sources.allocatable)
    return ""


def _keyed(kind: str, reference: Mapping[str, Any], found: Mapping[str, Object | None], values: Any,
           pod: Object) -> str | None:
    obj = found.get(reference["name"])
    optional = bool(reference.get("optional"))
    if obj is None:
        if optional:
            return None
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    value = values(obj).get(reference["key"])
    if value is None:
        if optional:
            return None
        word = "ConfigMap" if kind == "configmap" else "Secret"
        raise ConfigError(f"couldn't find key {reference['key']} in {word} "
                          f"{objects.namespace(pod)}/{reference['name']}")
    return str(value.decode(errors="surrogateescape"))


def field_value(pod: Object, path: str) -> str:
    """A field of the Pod by the downward API's path. Raises ``ConfigError`` where there is no such path."""
    if keyed := _KEY.match(path):
        return str((objects.meta(pod).get(keyed[1].partition(".")[2]) or {}).get(keyed[2], ""))
    status, spec = objects.status(pod), objects.spec(pod)
    simple = {
        "metadata.name": objects.name(pod), "metadata.namespace": objects.namespace(pod),
        "metadata.uid": objects.uid(pod), "spec.nodeName": spec.get("nodeName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": status.get("podIP") or "", "status.hostIP": status.get("hostIP") or "",
        "status.podIPs": status.get("podIP") or "", "status.hostIPs": status.get("hostIP") or "",
        "metadata.labels": _formatted(objects.labels(pod)),
        "metadata.annotations": _formatted(objects.meta(pod).get("annotations") or {}),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path])


def _formatted(values: Mapping[str, str]) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))


def resource_value(pod: Object, container: Mapping[str, Any], reference: Mapping[str, Any],
                   allocatable: Mapping[str, str]) -> str:
    """``limits.memory`` and the like, divided by the reference's divisor and rounded up."""
    if name := reference.get("containerName"):
        spec = objects.spec(pod)
        named = [c for c in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())] if c["name"] == name]
        container = named[0] if named else container
    kind, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    unset = allocatable.get(resource, "0") if kind == "limits" else "0"
    quantity = (resources.get(kind) or {}).get(resource) or unset
    divisor = quantities.parse(reference.get("divisor") or "1") or quantities.parse("1")
    return str(int((quantities.parse(quantity) / divisor).to_integral_value(rounding=ROUND_CEILING)))
