"""Says behind which addresses a Service's ready Pods are, in EndpointSlices.

``builtin`` builds me; I call ``client``. Addresses of Services themselves (clusterIP) are not given out yet: that is
issue 3's, with the node's network. Until then who calls a Service reads its slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from lightship.cluster.builtin import names, pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import ENDPOINT_SLICES, PODS, SERVICES
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "endpointslice-controller"
LIMIT_ENDPOINTS_PER_SLICE = 1000
LIMIT_WRITES_AT_ONCE = 8


def selects(service: Object, pod: Object) -> bool:
    selector = objects.spec(service).get("selector") or {}
    return bool(selector) and selector.items() <= objects.labels(pod).items()


def make_slices(service: Object, members: Sequence[Object]) -> list[Object]:
    """The slices of a Service. Pods for which a named port means another number get a slice of their own."""
    if not objects.spec(service).get("selector"):
        return []
    groups: dict[str, tuple[list[Object], list[Object]]] = {}
    for pod in sorted(members, key=objects.key):
        if not objects.status(pod).get("podIP") or pods.finished(pod):
            continue
        ports = resolve_ports(service, pod)
        _, endpoints = groups.setdefault(apply.digest(ports), (ports, []))
        endpoints.append(make_endpoint(service, pod))
    if not groups:
        groups[apply.digest([])] = ([], [])
    return [_make_slice(service, f"{hashed}-{number}" if number else hashed, ports, part)
            for hashed, (ports, endpoints) in sorted(groups.items())
            for number, part in enumerate(_parts(endpoints))]


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
        "targetRef": {"kind": "Pod", "namespace": objects.namespace(pod), "name": objects.name(pod),
                      "uid": objects.uid(pod)},
    }
    spec = objects.spec(pod)
    if spec.get("nodeName"):
        endpoint["nodeName"] = spec["nodeName"]
    if spec.get("hostname") and spec.get("subdomain") == objects.name(service):
        endpoint["hostname"] = spec["hostname"]
    return endpoint


def _named_port(pod: Object, name: str, protocol: str) -> int | None:
    spec = objects.spec(pod)
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name") == name and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _parts(endpoints: list[Object]) -> Iterable[list[Object]]:
    for start in range(0, max(1, len(endpoints)), LIMIT_ENDPOINTS_PER_SLICE):
        yield endpoints[start:start + LIMIT_ENDPOINTS_PER_SLICE]


def _make_slice(service: Object, suffix: str, ports: list[Object], endpoints: list[Object]) -> Object:
    name = objects.name(service)
    return {
        "apiVersion": ENDPOINT_SLICES.api_version, "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "name": apply.child_name(name, suffix), "namespace": objects.namespace(service),
            "labels": {names.SERVICE_NAME: name, names.SLICE_MANAGED_BY: names.SLICE_MANAGER},
            "ownerReferences": [objects.owner_reference(service)],
        },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    }


class Endpoints:
    """The pass: observe, decide, apply. The key is the Service's."""

    def __init__(self, deps: Deps) -> None:
        self._services = deps.manager.informer(SERVICES)
        self._pods = deps.manager.informer(PODS)
        self._slices = deps.manager.informer(ENDPOINT_SLICES)
        self._client = deps.manager.client_for(NAME)

    async def reconcile(self, key: Key) -> Result:
        service = self._services.get(key)
        if service is None or objects.deleting(service):
            return DONE  # garbage collection takes the slices
        members = [pod for pod in self._pods.list(key.namespace) if selects(service, pod)]
        wanted = make_slices(service, members)
        kept = {objects.name(made) for made in wanted}
        surplus = [made for made in self._slices.owned_by(objects.uid(service)) if objects.name(made) not in kept]
        works = [partial(self._write, made) for made in wanted]
        await tasks.each(works, at_once=LIMIT_WRITES_AT_ONCE)
        for made in surplus:
            await apply.delete_if_there(self._client, ENDPOINT_SLICES, made)
        return DONE

    async def _write(self, wanted: Object) -> None:
        existing = self._slices.get(objects.key(wanted))
        if existing is not None:
            # Lists are ours alone and go as a whole: what an endpoint no longer has must not stay.
            same = {name for name in ("ports", "endpoints") if existing.get(name) == wanted[name]}
            patch = apply.difference(existing, {"metadata": wanted["metadata"]})
            patch |= {name: wanted[name] for name in ("ports", "endpoints") if name not in same}
            if patch:
                self._slices.observe(await self._client.patch(ENDPOINT_SLICES, objects.key(wanted), patch))
            return
        self._slices.observe(await apply.ensure(self._client, ENDPOINT_SLICES, wanted, None))

    def keys_of(self, pod: Object) -> Iterable[Key]:
        """The Services that choose the Pod."""
        return [objects.key(service) for service in self._services.list(objects.namespace(pod))
                if selects(service, pod)]


def _owner_service(made: Object) -> Iterable[Key]:
    name = objects.labels(made).get(names.SERVICE_NAME)
    return (Key(objects.namespace(made), name),) if name else ()


def controller(deps: Deps) -> Controller:
    reconciler = Endpoints(deps)
    return Controller(
        name=NAME, reconciler=reconciler,
        watches=(Watch(resource=SERVICES), Watch(resource=PODS, keys=reconciler.keys_of),
                 Watch(resource=ENDPOINT_SLICES, keys=_owner_service)),
    )
