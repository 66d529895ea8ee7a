"""How a service is reached from outside on a cluster that is not ours: HTTPRoutes or an Ingress. Pure.

``decide`` calls me. The names, hosts and rules are upstream's for its Standard mode; the weights are those that the
gateway's route has at the same moment, so a canary gets nothing before it is ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightship.domains.serving import kinds, names
from lightship.domains.serving.inference_service import children, components
from lightship.domains.serving.inference_service.types import Component
from lightship.domains.serving.site import Entry, Site
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

_ANY_PATH, _EXPLAIN_PATH = "^/.*$", "^/v1/models/[\\w-]+:explain$"


def make(service: Object, wanted: Mapping[str, Component], facts: Mapping[str, components.Facts],
         site: Site) -> list[tuple[Resource, Object]]:
    """What the site needs; nothing where the gateway alone is the way in, or before a Pod could answer."""
    if site.entry is Entry.GATEWAY or any(part.split is None for part in facts.values()):
        return []
    if site.entry is Entry.INGRESS:
        return [(kinds.INGRESSES, _ingress(service, wanted, facts, site))]
    name = objects.name(service)
    entrance = _entrance(wanted)
    rules = []
    if names.EXPLAINER in wanted:
        rules.append(_rule(service, wanted[names.EXPLAINER], facts[names.EXPLAINER], _EXPLAIN_PATH))
    rules.append(_rule(service, wanted[entrance], facts[entrance], _ANY_PATH))
    made = [_http_route(service, "", name, rules, site)]
    made += [_http_route(service, kind, names.component(name, kind), [_rule(
        service, wanted[kind], facts[kind], _ANY_PATH)], site) for kind in wanted]
    return [(kinds.HTTP_ROUTES, each) for each in made]


def problem(routes: Sequence[Object]) -> str:
    """What a Gateway has against a route, in its own words; empty where it has taken all, or not looked yet."""
    for route in routes:
        for parent in objects.status(route).get("parents") or ():
            for condition in parent.get("conditions") or ():
                if condition.get("type") == "Accepted" and condition.get("status") == "False":
                    said = condition.get("message") or condition.get("reason") or "it does not say why"
                    return f'the Gateway does not accept HTTPRoute "{objects.name(route)}": {said}'
    return ""


def _entrance(wanted: Mapping[str, Component]) -> str:
    return names.TRANSFORMER if names.TRANSFORMER in wanted else names.PREDICTOR


def _http_route(service: Object, component: str, name: str, rules: list[Object], site: Site) -> Object:
    namespace, _, gateway = site.parent.rpartition("/")
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway}
    return {
        "apiVersion": kinds.HTTP_ROUTES.api_version, "kind": kinds.HTTP_ROUTES.kind,
        "metadata": children.make_metadata(service, component, name),
        "spec": {"hostnames": [names.host(name, objects.namespace(service), site.domain)],
                 "parentRefs": [parent | ({"namespace": namespace} if namespace else {})], "rules": rules}}


def _rule(service: Object, component: Component, facts: components.Facts, path: str) -> Object:
    return {
        "matches": [{"path": {"type": "RegularExpression", "value": path}}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [
            {"name": "KServe-Isvc-Name", "value": objects.name(service)},
            {"name": "KServe-Isvc-Namespace", "value": objects.namespace(service)}]}}],
        "backendRefs": [{"kind": "Service", "name": name, "namespace": objects.namespace(service),
                         "port": names.SERVICE_PORT, "weight": weight} for name, weight in _weights(facts).items()],
        "timeouts": {"request": f"{component.timeout_seconds}s"},
    }


def _weights(facts: components.Facts) -> dict[str, int]:
    """Each Service's part of a component's traffic. Pods that a rolling update replaces are behind one Service."""
    found = {facts.deployment: 0}
    listed = {f"{share.revision}" for share in facts.shares if share.tag and not share.latest} & {
        canary.deployment for canary in facts.canaries}
    split = facts.split is not None and facts.split.rest is not None
    for share in facts.shares:
        if share.revision in listed:
            name = share.revision
        elif split and share.latest:
            name = names.canary(facts.deployment)
        else:
            name = facts.deployment
        found[name] = found.get(name, 0) + share.percent
    return found


def _ingress(service: Object, wanted: Mapping[str, Component], facts: Mapping[str, components.Facts],
             site: Site) -> Object:
    name, namespace = objects.name(service), objects.namespace(service)
    targets = {name: facts[_entrance(wanted)].deployment} | {
        names.component(name, kind): facts[kind].deployment for kind in wanted}
    spec: Object = {"rules": [
        {"host": names.host(host, namespace, site.domain), "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {
                "name": target, "port": {"number": names.SERVICE_PORT}}}}]}}
        for host, target in targets.items()]}
    if site.ingress_class:
        spec["ingressClassName"] = site.ingress_class
    return {"apiVersion": kinds.INGRESSES.api_version, "kind": kinds.INGRESSES.kind,
            "metadata": children.make_metadata(service, "", name), "spec": spec}
