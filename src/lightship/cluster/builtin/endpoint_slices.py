"""The EndpointSlices and Endpoints of a Service, made from its Pods. Pure; ``endpoints`` calls me."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightship.cluster.builtin import names, pods
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import ENDPOINT_SLICES
from lightship.runtime import apply

LIMIT_ENDPOINTS_PER_SLICE = 100
LIMIT_ENDPOINTS_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
HEADLESS = "service.kubernetes.io/headless"
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"


def selects(service: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    selector = objects.spec(service).get("selector") or {}
    return bool(selector) and selector.items() <= objects.labels(pod).items()


def is_managed(service: Mapping[str, Any]) -> bool:
    """Whether its endpoints are for us to find."""
    spec = objects.spec(service)
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_mirrored(service: Mapping[str, Any], legacy: Mapping[str, Any]) -> bool:
    """Whether ``legacy`` was written by hand for a Service without a selector."""
    return (not objects.spec(service).get("selector") and objects.labels(legacy).get(SKIP_MIRROR) != "true"
            and not names.annotation(legacy, LEADER))


def make_slices(service: Object, members: Sequence[Object], there: Sequence[Object] = ()) -> list[Object]:
    """The slices of a Service. Pods for which a named port means another number get a slice of their own.

    An endpoint stays in the slice where ``there`` has it, so that one Pod's change is one slice's.
    """
    groups: dict[str, tuple[list[Object], list[Object]]] = {}
    for pod in sorted(members, key=objects.key):
        if not objects.status(pod).get("podIP") or pods.finished(pod):
            continue
        ports = resolve_ports(service, pod)
        _, endpoints = groups.setdefault(apply.digest(ports), (ports, []))
        endpoints.append(make_endpoint(service, pod))
    if not groups:
        groups[apply.digest([])] = ([], [])
    made = []
    for hashed, (ports, endpoints) in sorted(groups.items()):
        for number, part in _packed(service, hashed, endpoints, there).items():
            made.append(_make_slice(service, _slice_name(service, hashed, number), ports, part))
    return made


def resolve_ports(service: Object, pod: Object) -> list[Object]:
    """The ports on the Pod, numbers for names; one whose name the Pod does not know is left out."""
    resolved = []
    for port in objects.spec(service).get("ports") or ():
        target = port.get("targetPort", port.get("port"))
        protocol = port.get("protocol") or "TCP"
        number = target if isinstance(target, int) else _named_port(pod, str(target), protocol)
        if number is not None:
            made: Object = {"name": port.get("name") or "", "port": number, "protocol": protocol}
            if port.get("appProtocol"):
                made["appProtocol"] = port["appProtocol"]
            resolved.append(made)
    return resolved


def make_endpoint(service: Object, pod: Object) -> Object:
    terminating = objects.deleting(pod)
    serving = pods.ready(pod)
    ready = (serving and not terminating) or bool(objects.spec(service).get("publishNotReadyAddresses"))
    endpoint: Object = {
        "addresses": [objects.status(pod)["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": _reference(pod),
    }
    if objects.spec(pod).get("nodeName"):
        endpoint["nodeName"] = objects.spec(pod)["nodeName"]
    if hostname := _hostname(service, pod):
        endpoint["hostname"] = hostname
    return endpoint


def make_endpoints(service: Object, members: Sequence[Object]) -> Object:
    """What readers of before EndpointSlices look at: addresses by their ports, ready ones and others apart."""
    publish = bool(objects.spec(service).get("publishNotReadyAddresses"))
    groups: dict[str, Object] = {}
    count = 0
    for pod in sorted(members, key=objects.key):
        if not objects.status(pod).get("podIP") or pods.finished(pod) or (objects.deleting(pod) and not publish):
            continue
        ports = resolve_ports(service, pod)
        if not ports and not is_headless(service):
            continue
        count += 1
        if count > LIMIT_ENDPOINTS_ADDRESSES:
            break
        subset = groups.setdefault(apply.digest(ports), {"ports": [_legacy_port(port) for port in ports]})
        address: Object = {"ip": objects.status(pod)["podIP"], "targetRef": _reference(pod)}
        if objects.spec(pod).get("nodeName"):
            address["nodeName"] = objects.spec(pod)["nodeName"]
        if hostname := _hostname(service, pod):
            address["hostname"] = hostname
        subset.setdefault("addresses" if publish or pods.ready(pod) else "notReadyAddresses", []).append(address)
    subsets = [{name: value for name, value in subset.items() if value} for _, subset in sorted(groups.items())]
    metadata = _metadata(service, objects.name(service), {ENDPOINTS_MANAGED_BY: "endpoint-controller"})
    if count > LIMIT_ENDPOINTS_ADDRESSES:
        metadata["annotations"] = {OVER_CAPACITY: "truncated"}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}


def mirror(service: Object, legacy: Object) -> list[Object]:
    """The slices that say what hand-written Endpoints say."""
    made = []
    for subset in legacy.get("subsets") or ():
        ports = [{"name": port.get("name") or "", "port": port.get("port"), "protocol": port.get("protocol") or "TCP"}
                 | ({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {})
                 for port in subset.get("ports") or ()]
        endpoints = [_mirrored(address, ready) for name, ready in (("addresses", True), ("notReadyAddresses", False))
                     for address in subset.get(name) or ()]
        hashed = apply.digest(ports)
        for number, start in enumerate(range(0, len(endpoints), LIMIT_ENDPOINTS_PER_SLICE)):
            part = endpoints[start:start + LIMIT_ENDPOINTS_PER_SLICE]
            one = _make_slice(service, _slice_name(service, hashed, number), ports, part)
            one["metadata"]["labels"][names.SLICE_MANAGED_BY] = names.MIRROR_MANAGER
            made.append(one)
    return list({objects.name(one): one for one in made}.values())


def is_headless(service: Mapping[str, Any]) -> bool:
    return objects.spec(service).get("clusterIP") == "None"


def _mirrored(address: Mapping[str, Any], ready: bool) -> Object:
    endpoint: Object = {"addresses": [str(address.get("ip"))], "conditions": {"ready": ready}}
    return endpoint | {name: address[name] for name in ("hostname", "nodeName", "targetRef") if address.get(name)}


def _legacy_port(port: Object) -> Object:
    return {name: value for name, value in port.items() if value != ""}


def _reference(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": objects.namespace(pod), "name": objects.name(pod), "uid": objects.uid(pod)}


def _hostname(service: Object, pod: Object) -> str:
    spec = objects.spec(pod)
    return str(spec.get("hostname") or "") if spec.get("subdomain") == objects.name(service) else ""


def _named_port(pod: Object, name: str, protocol: str) -> int | None:
    spec = objects.spec(pod)
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name") == name and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _packed(service: Object, hashed: str, endpoints: Iterable[Object], there: Sequence[Object]
            ) -> dict[int, list[Object]]:
    """The endpoints by the number of their slice: where they were, else where there is room."""
    by_name = {objects.name(one): one for one in there}
    home: dict[str, int] = {}
    number = 0
    while (known := by_name.get(_slice_name(service, hashed, number))) is not None or number < len(there):
        for endpoint in (known or {}).get("endpoints") or ():
            home[str((endpoint.get("targetRef") or {}).get("uid"))] = number
        number += 1
    parts: dict[int, list[Object]] = {}
    strangers = []
    for endpoint in endpoints:
        place = home.get(endpoint["targetRef"]["uid"])
        if place is None:
            strangers.append(endpoint)
        else:
            parts.setdefault(place, []).append(endpoint)
    number = 0
    for endpoint in strangers:
        while len(parts.get(number, ())) >= LIMIT_ENDPOINTS_PER_SLICE:
            number += 1
        parts.setdefault(number, []).append(endpoint)
    return parts or {0: []}


def _slice_name(service: Object, hashed: str, number: int) -> str:
    return apply.child_name(objects.name(service), f"{hashed}-{number}" if number else hashed)


def _make_slice(service: Object, name: str, ports: list[Object], endpoints: list[Object]) -> Object:
    labels = {names.SERVICE_NAME: objects.name(service), names.SLICE_MANAGED_BY: names.SLICE_MANAGER}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version, "kind": ENDPOINT_SLICES.kind,
        "metadata": _metadata(service, name, labels),
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    }


def _metadata(service: Object, name: str, own: Mapping[str, str]) -> Object:
    """With the Service's labels, since readers choose by them."""
    headless = {HEADLESS: ""} if is_headless(service) else {}
    return {"name": name, "namespace": objects.namespace(service),
            "labels": {**objects.labels(service), **headless, **own},
            "ownerReferences": [objects.owner_reference(service)]}
