"""Endpoints, Ingresses and NetworkPolicies: defaults and validation. Pure; ``kinds.cluster_table`` registers these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightship.cluster.apiserver import workloads
from lightship.cluster.apiserver.kinds import endpoint_addresses, pods
from lightship.cluster.apiserver.registry import FieldFault
from lightship.cluster.apiserver.shapes import SUBDOMAIN_RULE, is_subdomain
from lightship.kube import objects
from lightship.kube.objects import Object


def default_endpoints(obj: Object) -> Object:
    if not obj.get("subsets"):
        return obj
    return obj | {"subsets": [subset | {"ports": [{"protocol": "TCP"} | port for port in subset["ports"]]}
                              if subset.get("ports") else subset for subset in obj["subsets"]]}


def validate_endpoints(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    faults = []
    for number, subset in enumerate(obj.get("subsets") or ()):
        place = f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            faults.append(FieldFault(place, "Required value: must specify `addresses` or `notReadyAddresses`"))
        faults += endpoint_addresses.subset_faults(subset, place)
        for at, port in enumerate(subset.get("ports") or ()):
            if not 0 < (port.get("port") or 0) < 65536:
                faults.append(FieldFault(f"{place}.ports[{at}].port",
                                         f"Invalid value: {port.get('port') or 0}: must be between 1 and 65535, "
                                         "inclusive"))
    return faults


def default_slice(obj: Object) -> Object:
    """An EndpointSlice: clients read the conditions and the ports' names without a look whether they are there."""
    filled = {"ports": [{"name": "", "protocol": "TCP"} | pods.given(port) for port in obj.get("ports") or ()],
              "endpoints": [{"conditions": {}} | pods.given(one) for one in obj.get("endpoints") or ()]}
    return obj | {key: value for key, value in filled.items() if value}


def default_ingress(obj: Object) -> Object:
    return obj | {"spec": objects.spec(obj), "status": {"loadBalancer": {}} | objects.status(obj)}


def validate_ingress(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec, faults = objects.spec(obj), []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        faults.append(FieldFault("spec", "Invalid value: null: either `defaultBackend` or `rules` must be specified"))
    for number, rule in enumerate(spec.get("rules") or ()):
        http, host = rule.get("http"), str(rule.get("host") or "")
        if host and not is_subdomain(host.removeprefix("*.")):
            why = f"Invalid value: {pods.shown(host)}: {SUBDOMAIN_RULE}"
            faults.append(FieldFault(f"spec.rules[{number}].host", why))
        if http is not None and not http.get("paths"):
            faults.append(FieldFault(f"spec.rules[{number}].http.paths", "Required value"))
        for at, path in enumerate((http or {}).get("paths") or ()):
            if path.get("pathType") not in ("Exact", "ImplementationSpecific", "Prefix"):
                faults.append(FieldFault(f"spec.rules[{number}].http.paths[{at}].pathType",
                                         "Required value: pathType must be specified"))
    return faults


def default_policy(obj: Object) -> Object:
    spec: dict[str, Any] = {"podSelector": {}} | pods.given(objects.spec(obj))
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for side in ("ingress", "egress"):
        if any(rule.get("ports") for rule in spec.get(side) or ()):
            spec[side] = [rule | {"ports": [{"protocol": "TCP"} | pods.given(port) for port in rule["ports"]]}
                          if rule.get("ports") else rule for rule in spec[side]]
    return obj | {"spec": spec}


def validate_policy(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(workloads.label_selector_faults(spec.get("podSelector") or {}, "spec.podSelector"))
    for number, kind in enumerate(spec.get("policyTypes") or ()):
        if kind not in ("Ingress", "Egress"):
            faults.append(pods.unsupported(f"spec.policyTypes[{number}]", kind, "Ingress", "Egress"))
    return faults
