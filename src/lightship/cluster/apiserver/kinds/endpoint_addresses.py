"""What addresses Endpoints and EndpointSlices may have. Pure; ``kinds.network`` calls me.

Who writes them has the node open connections, so that no address is taken on which the host serves itself alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from lightship.cluster.apiserver.kinds import pods
from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube.objects import Object

LIMIT_ENDPOINTS_PER_SLICE = 1000
LIMIT_ADDRESSES_PER_ENDPOINT = 100
ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


def special_address_faults(ip: str, place: str, *, of_pod: bool) -> list[FieldFault]:
    """``of_pod`` says that the endpoint names a Pod: where a node has no network namespaces its Pods are on loopback
    addresses, and the node itself looks whether the address is that Pod's."""
    try:
        found = ipaddress.ip_address(ip)
    except ValueError:
        return [FieldFault(place, f"Invalid value: {pods.shown(ip)}: must be a valid IP address, "
                                  "(e.g. 10.9.8.7 or 2001:db8::ffff)")]
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped if mapped is not None else found
    if found.is_unspecified:
        why = f"may not be unspecified ({ip})"
    elif found.is_loopback and not of_pod:
        why = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    elif found.is_link_local:
        why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    elif any(found.version == net.version and found in net for net in _LINK_LOCAL_MULTICAST):
        why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
    else:
        return []
    return [FieldFault(place, f"Invalid value: {pods.shown(ip)}: {why}")]


def subset_faults(subset: Mapping[str, Any], place: str) -> list[FieldFault]:
    """The addresses of one subset of Endpoints."""
    return [fault for kind in ("addresses", "notReadyAddresses")
            for number, address in enumerate(subset.get(kind) or ())
            for fault in special_address_faults(str(address.get("ip") or ""), f"{place}.{kind}[{number}].ip",
                                                of_pod=_of_pod(address))]


def slice_faults(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    """An EndpointSlice's kind of addresses, and the addresses."""
    kind, endpoints = obj.get("addressType"), obj.get("endpoints") or ()
    faults = []
    if not kind:
        faults.append(FieldFault("addressType", "Required value"))
    elif kind not in ADDRESS_TYPES:
        faults.append(pods.unsupported("addressType", kind, *ADDRESS_TYPES))
    elif old is not None and old.get("addressType") != kind:
        faults.append(FieldFault("addressType", f"Invalid value: {pods.shown(kind)}: field is immutable"))
    if len(endpoints) > LIMIT_ENDPOINTS_PER_SLICE:
        return [*faults, FieldFault("endpoints", f"Too many: {len(endpoints)}: must have at most "
                                                 f"{LIMIT_ENDPOINTS_PER_SLICE} items")]
    for number, endpoint in enumerate(endpoints):
        place, addresses = f"endpoints[{number}].addresses", endpoint.get("addresses") or ()
        if not addresses:
            faults.append(FieldFault(place, "Required value: must contain at least 1 address"))
        elif len(addresses) > LIMIT_ADDRESSES_PER_ENDPOINT:
            faults.append(FieldFault(place, f"Too many: {len(addresses)}: must have at most "
                                            f"{LIMIT_ADDRESSES_PER_ENDPOINT} items"))
        elif kind in ("IPv4", "IPv6"):
            for at, address in enumerate(addresses):
                faults += _address_faults(str(address), kind, f"{place}[{at}]", of_pod=_of_pod(endpoint))
    return faults


def _address_faults(address: str, kind: str, place: str, *, of_pod: bool) -> list[FieldFault]:
    version = ipaddress.IPv4Address if kind == "IPv4" else ipaddress.IPv6Address
    try:
        version(address)
    except ValueError:
        return [FieldFault(place, f"Invalid value: {pods.shown(address)}: must be a valid {kind} address")]
    return special_address_faults(address, place, of_pod=of_pod)


def _of_pod(endpoint: Mapping[str, Any]) -> bool:
    target = endpoint.get("targetRef") or {}
    return bool(target.get("kind") == "Pod" and target.get("uid"))
