"""From Services and EndpointSlices to what the hub serves: ports with their endpoints, and names. Pure.

``pod_network`` calls me for each change; ``services`` and ``dns`` take the two halves.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lightship.cluster.node.network import dns
from lightship.cluster.node.network.dns import DOMAIN
from lightship.kube import objects
from lightship.kube.objects import Key, Object

API_ADDRESS, API_PORT = "10.96.0.1", 443
UNREACHABLE = tuple(IPv4Network(net) for net in (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "10.244.0.0/31", "10.96.0.0/16"))
"""What no endpoint is: the host's own loopback and link (where clouds serve credentials), what is no host, and the
hub's own addresses, by which a Service would lead to itself."""
_SERVICE_LABEL = "kubernetes.io/service-name"
_API_NAME = f"kubernetes.default.svc.{DOMAIN}"


Shared = Mapping[str, tuple[str, str]]
"""The Pods on the host's network by their uid: (namespace, address)."""


def make(services: Iterable[Object], slices: Iterable[Object], api: tuple[str, int],
         shared: Shared | None = None) -> dict[str, Any]:
    """The whole table. ``api`` is where the API server listens on the host."""
    by_service: defaultdict[Key, list[Object]] = defaultdict(list)
    for piece in map(_reachable(shared or {}), slices):
        name = objects.labels(piece).get(_SERVICE_LABEL)
        if name and piece.get("addressType", "IPv4") == "IPv4":
            by_service[Key(objects.namespace(piece), name)].append(piece)
    ports = [_port((API_ADDRESS, API_PORT), "TCP", [list(api)])]
    records: dict[str, dict[str, Any]] = {
        _API_NAME: {"a": [API_ADDRESS]}, f"_https._tcp.{_API_NAME}": {"srv": [[API_PORT, _API_NAME]]}}
    pointers = {API_ADDRESS: _API_NAME}
    for service in services:
        if objects.key(service) == Key("default", "kubernetes"):
            continue
        own = by_service[objects.key(service)]
        ip = cluster_ip(service)
        if ip:
            ports += _ports(service, ip, own)
            pointers[ip] = _name(service)
        records |= _records(service, own, pointers)
    return {"services": ports, "records": records, "pointers": pointers}


@functools.lru_cache(maxsize=4096)
def is_reachable(address: str) -> bool:
    """Whether this is an IPv4 address that any endpoint may have."""
    try:
        found = IPv4Address(address)  # strictly: sockets also take 127.1 and names
    except ValueError:
        return False
    return not any(found in net for net in UNREACHABLE)


def _reachable(shared: Shared) -> Callable[[Object], Object]:
    """A slice without the addresses that nobody may have us call. Whoever may write a slice could name any; a Pod on
    the host's network reaches the host's loopback itself, so that its own address there gives nothing away."""
    def allowed(address: str, endpoint: Mapping[str, Any], namespace: str) -> bool:
        target = endpoint.get("targetRef") or {}
        return is_reachable(address) or shared.get(str(target.get("uid") or "")) == (namespace, address)

    def piece_of(piece: Object) -> Object:
        namespace = objects.namespace(piece)
        return piece | {"endpoints": [
            endpoint | {"addresses": [each for each in endpoint.get("addresses") or ()
                                      if allowed(str(each), endpoint, namespace)]}
            for endpoint in piece.get("endpoints") or ()]}

    return piece_of


def service_links(services: Iterable[Object], namespace: str) -> dict[str, str]:
    """The variables by which a Pod finds the Services of its namespace that were there before it."""
    found: dict[str, str] = {}
    for service in services:
        ip, ports = cluster_ip(service), objects.spec(service).get("ports") or ()
        if objects.namespace(service) != namespace or not ip or not ports or objects.name(service) == "kubernetes":
            continue
        prefix = objects.name(service).upper().replace("-", "_")
        found |= {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
        for number, port in enumerate(ports):
            protocol = (port.get("protocol") or "TCP").lower()
            url, stem = f"{protocol}://{ip}:{port['port']}", f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
            if port.get("name"):
                found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            if not number:
                found[f"{prefix}_PORT"] = url
            found |= {stem: url, f"{stem}_PROTO": protocol, f"{stem}_PORT": str(port["port"]), f"{stem}_ADDR": ip}
    return found


def _port(address: tuple[str, int], protocol: str, endpoints: list[list[Any]], affinity: float = 0.0,
          node_port: int = 0) -> dict[str, Any]:
    return {"ip": address[0], "port": address[1], "protocol": protocol, "endpoints": endpoints, "affinity": affinity,
            "node_port": node_port}


def _name(service: Object) -> str:
    return f"{objects.name(service)}.{objects.namespace(service)}.svc.{DOMAIN}".lower()


def cluster_ip(service: Object) -> str:
    """The Service's IPv4 address, or nothing."""
    ip = objects.spec(service).get("clusterIP") or ""
    return "" if ip == "None" or ":" in ip else str(ip)


def _usable(endpoint: Mapping[str, Any]) -> bool:
    conditions = endpoint.get("conditions") or {}
    return conditions.get("ready") is not False and bool(endpoint.get("addresses"))


def _ports(service: Object, ip: str, slices: list[Object]) -> list[dict[str, Any]]:
    spec = objects.spec(service)
    affinity = 0.0
    if spec.get("sessionAffinity") == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = float(client.get("timeoutSeconds") or 10800)
    made = []
    for port in spec.get("ports") or ():
        protocol, name = port.get("protocol") or "TCP", port.get("name") or ""
        endpoints = [[address, target["port"]] for piece in slices for target in piece.get("ports") or ()
                     if (target.get("name") or "") == name and (target.get("protocol") or "TCP") == protocol
                     and target.get("port")
                     for endpoint in piece.get("endpoints") or () if _usable(endpoint)
                     for address in endpoint["addresses"]]
        made.append(_port((ip, int(port["port"])), protocol, sorted(endpoints), affinity,
                          int(port.get("nodePort") or 0)))
    return made


def _records(service: Object, slices: list[Object], pointers: dict[str, str]) -> dict[str, dict[str, Any]]:
    name, spec = _name(service), objects.spec(service)
    if spec.get("type") == "ExternalName":
        target = str(spec.get("externalName") or "").rstrip(".").lower()
        return {name: {"cname": target} if dns.is_name(target) else {}}
    ip = cluster_ip(service)
    if ip:
        records: dict[str, dict[str, Any]] = {name: {"a": [ip]}}
        for port in spec.get("ports") or ():
            if port.get("name"):
                records[_srv_name(port, name)] = {"srv": [[int(port["port"]), name]]}
        return records
    return _headless_records(name, slices, pointers) if spec.get("clusterIP") == "None" else {}


def _headless_records(name: str, slices: list[Object], pointers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """One address record a Pod, under the Service's name and under its own."""
    addresses: list[str] = []
    records: dict[str, dict[str, Any]] = {}
    for piece in slices:
        for endpoint in filter(_usable, piece.get("endpoints") or ()):
            for address in endpoint["addresses"]:
                hostname = str(endpoint.get("hostname") or "")
                own = f"{hostname if dns.is_name(hostname) else address.replace('.', '-')}.{name}".lower()
                if address not in addresses:
                    addresses.append(address)
                listed = records.setdefault(own, {"a": []})["a"]
                if address not in listed:
                    listed.append(address)
                pointers[address] = own
                for port in piece.get("ports") or ():
                    if port.get("name") and port.get("port"):
                        targets = records.setdefault(_srv_name(port, name), {"srv": []})["srv"]
                        if [port["port"], own] not in targets:
                            targets.append([port["port"], own])
    if addresses:
        records[name] = {"a": addresses}
    return records


def _srv_name(port: Mapping[str, Any], name: str) -> str:
    return f"_{port['name']}._{(port.get('protocol') or 'TCP').lower()}.{name}".lower()
