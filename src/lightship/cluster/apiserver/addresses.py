"""Cluster addresses and node ports of Services: each is given out once. ``server`` puts me into Services' admission.

What is taken is read from the store, decoded once a revision; what was given out and is not on disk yet is kept for a
while, so that two Services made at once never get the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from lightship.cluster.apiserver.kinds import services
from lightship.cluster.apiserver.registry import Fault, FieldFault, Registry
from lightship.cluster.store.store import Store
from lightship.kube import objects, resources
from lightship.kube.objects import Key, Object
from lightship.lib.clock import Clock

NETWORK = "10.96.0.0/16"
_PREFIX = "10.96."
_FIRST, _LAST = 256, 65534
"""Addresses below the first are for those who name one, as upstream's static band."""
LIMIT_PENDING_SECONDS = 10


class _Service(msgspec.Struct):
    spec: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Service).decode


class ServiceAddresses:
    """Gives out what Services need."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._known: dict[Key, tuple[int, frozenset[Any]]] = {}
        self._pending: dict[Key, tuple[datetime, frozenset[Any]]] = {}
        self._next = {"address": _FIRST, "port": services.NODE_PORTS[0]}

    def install(self, registry: Registry) -> None:
        """Let Services in ``registry`` be admitted by me."""
        found = registry.find("", "v1", resources.SERVICES.plural)
        assert found is not None
        registry.install("", resources.SERVICES.plural, [replace(found, admit=self.admit, settled=self.settled)])

    def admit(self, new: Object, old: Object | None) -> tuple[Object, Iterable[Fault]]:
        """The Service with its defaults and its addresses, and what is wrong with it."""
        if old is not None:
            if new.get("spec") == old.get("spec"):
                return new, ()
            new = new | {"spec": _kept(objects.spec(new), objects.spec(old))}
        new = services.default_service(new)
        faults: list[Fault] = list(services.validate_service(new, old))
        return (new, faults) if faults else self._allocated(new)

    async def settled(self, obj: Object, gone: bool) -> None:
        self._pending.pop(objects.key(obj), None)

    def _allocated(self, obj: Object) -> tuple[Object, list[Fault]]:
        key, spec = objects.key(obj), dict(objects.spec(obj))
        taken, faults = self._taken(key), list[Fault]()
        if spec["type"] == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(field, None)
        else:
            given = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), None)
            if not given:
                given = self._free_address(taken)
            elif given != "None" and (why := _trouble(given, taken)):
                faults.append(FieldFault("spec.clusterIPs", f'Invalid value: ["{given}"]: failed to allocate IP '
                                                            f"{given}: {why}"))
            spec |= {"clusterIP": given, "clusterIPs": [given]}
        if spec["type"] in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts") is not False:
            spec["ports"] = self._with_node_ports(spec["ports"], taken, faults)
        if faults:
            return obj, faults
        self._pending[key] = (self._clock.now(), _used(spec))
        return obj | {"spec": spec}, []

    def _with_node_ports(self, ports: list[dict[str, Any]], taken: set[Any], faults: list[Fault]
                         ) -> list[dict[str, Any]]:
        low, high = services.NODE_PORTS
        result = []
        for number, port in enumerate(ports):
            place, wanted = f"spec.ports[{number}].nodePort", port.get("nodePort") or 0
            if not wanted:
                wanted = self._free_port(taken, port["protocol"])
            elif not low <= wanted <= high:
                faults.append(FieldFault(place, f"Invalid value: {wanted}: provided port is not in the valid range. "
                                                f"The range of valid ports is {low}-{high}"))
            elif (port["protocol"], wanted) in taken:
                faults.append(FieldFault(place, f"Invalid value: {wanted}: provided port is already allocated"))
            taken.add((port["protocol"], wanted))
            result.append(port | {"nodePort": wanted})
        return result

    def _taken(self, but: Key) -> set[Any]:
        """All addresses and (protocol, port) pairs that Services other than ``but`` have."""
        old, self._known = self._known, {}
        for item in self._store.snapshot(resources.SERVICES.group_resource).items:
            key = Key(item.namespace, item.name)
            known = old.get(key)
            self._known[key] = known if known and known[0] == item.entry.revision else (
                item.entry.revision, _used(_decode(item.entry.value).spec or {}))
        horizon = self._clock.now() - timedelta(seconds=LIMIT_PENDING_SECONDS)
        self._pending = {key: value for key, value in self._pending.items() if value[0] > horizon}
        found: set[Any] = set()
        for source in (self._known, self._pending):
            found |= {used for key, (_, all_used) in source.items() if key != but for used in all_used}
        return found

    def _free_address(self, taken: set[Any]) -> str:
        for step in range(_LAST - _FIRST):
            number = _FIRST + (self._next["address"] - _FIRST + step) % (_LAST - _FIRST)
            address = f"{_PREFIX}{number >> 8}.{number & 255}"
            if address not in taken:
                self._next["address"] = number + 1
                return address
        raise AssertionError("a node cannot hold so many Services")

    def _free_port(self, taken: set[Any], protocol: str) -> int:
        low, high = services.NODE_PORTS
        for step in range(high - low + 1):
            port = low + (self._next["port"] - low + step) % (high - low + 1)
            if (protocol, port) not in taken:
                self._next["port"] = port + 1
                return port
        return 0


def _kept(spec: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What an update left out that was given to the Service before: it keeps it."""
    result = dict(spec)
    if "ExternalName" not in (spec.get("type"), before.get("type")) and before.get("clusterIP"):
        result["clusterIP"] = spec.get("clusterIP") or before["clusterIP"]
        result["clusterIPs"] = [result["clusterIP"]]
    elif spec.get("type") == "ExternalName" and spec.get("clusterIP") == before.get("clusterIP"):
        result.pop("clusterIP", None)
        result.pop("clusterIPs", None)
    nodes = ("NodePort", "LoadBalancer")
    old_ports = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or ()}
    if spec.get("type") in nodes and before.get("type") in nodes:
        result["ports"] = [port if port.get("nodePort") else port | {"nodePort": old_ports.get(
            (port.get("protocol") or "TCP", port.get("port")))} for port in spec.get("ports") or ()]
    elif spec.get("type") not in nodes and before.get("type") in nodes:
        result["ports"] = [{k: v for k, v in port.items() if k != "nodePort" or v != old_ports.get(
            (port.get("protocol") or "TCP", port.get("port")))} for port in spec.get("ports") or ()]
    return result


def _used(spec: dict[str, Any]) -> frozenset[Any]:
    address = spec.get("clusterIP")
    found: set[Any] = {address} if address and address != "None" else set()
    return frozenset(found | {(p.get("protocol") or "TCP", p["nodePort"]) for p in spec.get("ports") or ()
                              if p.get("nodePort")})


def _trouble(address: str, taken: set[Any]) -> str:
    parts = address.split(".")
    fine = len(parts) == 4 and all(p.isascii() and p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts)
    if not fine or not address.startswith(_PREFIX) or address in (f"{_PREFIX}0.0", f"{_PREFIX}255.255"):
        return f"the provided IP ({address[:100]}) is not in the valid range. The range of valid IPs is {NETWORK}"
    return "provided IP is already allocated" if address in taken else ""
