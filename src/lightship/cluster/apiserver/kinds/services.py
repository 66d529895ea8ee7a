"""Services: defaults and validation. Pure; ``core`` registers them, and ``addresses`` gives them their addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lightship.cluster.apiserver.kinds import pods
from lightship.cluster.apiserver.registry import FieldFault
from lightship.cluster.apiserver.shapes import LABEL_RULE, SUBDOMAIN_RULE, is_label, is_subdomain, label_faults
from lightship.kube import objects
from lightship.kube.objects import Object

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
AFFINITY_SECONDS = 10800
NODE_PORTS = (30000, 32767)


def default_service(obj: Object) -> Object:
    spec: dict[str, Any] = {"type": "ClusterIP", "sessionAffinity": "None"} | pods.given(objects.spec(obj))
    if spec["type"] != "ExternalName":
        spec = {"internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"} | spec
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec = {"externalTrafficPolicy": "Cluster"} | spec
    if spec["type"] == "LoadBalancer":
        spec = {"allocateLoadBalancerNodePorts": True} | spec
    if spec["sessionAffinity"] == "ClientIP" and not spec.get("sessionAffinityConfig"):
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}
    if spec.get("ports"):
        spec["ports"] = [{"protocol": "TCP"} | port | {"targetPort": port.get("targetPort") or port.get("port") or 0}
                         for port in map(pods.given, spec["ports"])]
    return obj | {"spec": spec, "status": {"loadBalancer": {}} | objects.status(obj)}


def validate_service(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return (*_port_faults(objects.spec(obj)), *_spec_faults(objects.spec(obj)),
            *(_change_faults(objects.spec(obj), objects.spec(old)) if old is not None else ()))


def _spec_faults(spec: dict[str, Any]) -> Iterator[FieldFault]:
    kind = spec["type"]
    if kind not in TYPES:
        yield pods.unsupported("spec.type", kind, *TYPES)
    if spec.get("sessionAffinity") not in ("ClientIP", "None"):
        yield pods.unsupported("spec.sessionAffinity", spec.get("sessionAffinity"), "ClientIP", "None")
    if not spec.get("ports") and kind != "ExternalName" and spec.get("clusterIP") != "None":
        yield FieldFault("spec.ports", "Required value")
    if kind == "ExternalName":
        if spec.get("clusterIP") not in (None, ""):
            yield FieldFault("spec.clusterIPs[0]", "Forbidden: may not be set for ExternalName services")
        name = str(spec.get("externalName") or "").rstrip(".")
        if not name:
            yield FieldFault("spec.externalName", "Required value")
        elif not is_subdomain(name):
            yield FieldFault("spec.externalName", f"Invalid value: {pods.shown(name)}: {SUBDOMAIN_RULE}")
    if spec.get("clusterIP") == "None" and kind in ("NodePort", "LoadBalancer"):
        yield FieldFault("spec.clusterIPs[0]", f'Invalid value: "None": may not be set to \'None\' for {kind} services')
    yield from label_faults(spec.get("selector") or {}, "spec.selector")


def _port_faults(spec: dict[str, Any]) -> Iterator[FieldFault]:
    ports = spec.get("ports") or []
    names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    for number, port in enumerate(ports):
        place, value, protocol = f"spec.ports[{number}]", port.get("port") or 0, port.get("protocol")
        name, target = port.get("name") or "", port.get("targetPort")
        if not name and len(ports) > 1:
            yield FieldFault(f"{place}.name", "Required value")
        elif name and not is_label(name):
            yield FieldFault(f"{place}.name", f"Invalid value: {pods.shown(name)}: {LABEL_RULE}")
        elif name in names:
            yield FieldFault(f"{place}.name", f"Duplicate value: {pods.shown(name)}")
        names.add(name)
        if not 0 < value < 65536:
            yield FieldFault(f"{place}.port", f"Invalid value: {value}: must be between 1 and 65535, inclusive")
        if protocol not in PROTOCOLS:
            yield pods.unsupported(f"{place}.protocol", protocol, *PROTOCOLS)
        if isinstance(target, int) and value and not 0 < target < 65536:
            yield FieldFault(f"{place}.targetPort", f"Invalid value: {target}: must be between 1 and 65535, inclusive")
        elif isinstance(target, str) and not (is_label(target) and len(target) < 16 and not target.isdigit()):
            yield FieldFault(f"{place}.targetPort", f"Invalid value: {pods.shown(target)}: must be no more than "
                                                    "15 characters")
        if (protocol, value) in seen:
            yield FieldFault(place, f"Duplicate value: {pods.shown({'port': value, 'protocol': protocol})}")
        seen.add((protocol, value))
        if port.get("nodePort") and spec["type"] not in ("NodePort", "LoadBalancer"):
            yield FieldFault(f"{place}.nodePort", f"Forbidden: may not be used when `type` is '{spec['type']}'")


def _change_faults(spec: dict[str, Any], before: dict[str, Any]) -> Iterator[FieldFault]:
    was, now = before.get("clusterIP"), spec.get("clusterIP")
    if was and before.get("type") != "ExternalName" and spec["type"] != "ExternalName" and now != was:
        yield FieldFault("spec.clusterIPs[0]", f"Invalid value: {pods.shown([now] if now else None)}: may not "
                                               "change once set")
