"""From what is there to what should be: children, route and status of one InferenceService. Pure.

``reconciler`` observes and applies; I call ``components`` for each part, then ``children`` and ``status``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lightship.domains.serving import kinds, names
from lightship.domains.serving.inference_service import children, components, exposure, status, types
from lightship.domains.serving.inference_service.components import Observed
from lightship.domains.serving.inference_service.rollout import Share
from lightship.domains.serving.inference_service.scaling import Scaler, scaler
from lightship.domains.serving.site import Site
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import Resource


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write, in this order, and what is to go. Children that are not named are left as they are."""

    revisions: Sequence[Object]
    deployments: Sequence[Object]
    services: Sequence[Object]
    autoscalers: Sequence[Object]
    others: Sequence[tuple[Resource, Object]]
    """What only the site's kind of cluster has."""
    route: Object
    keep: frozenset[str] | None
    """The names of Deployments, Services and autoscalers that stay; None: nothing goes now."""
    drop_revisions: Sequence[str]
    status: dict[str, Any]


def decide(observed: Observed, site: Site, now: datetime) -> Plan:
    """The plan for one pass."""
    service = observed.service
    if types.stopped(service):
        return _stopped(observed, site, now)
    wanted = types.components(service)
    parts = {kind: components.plan(observed, component) for kind, component in wanted.items()}
    if observed.blocked:
        parts[names.PREDICTOR] = components.blocked(parts[names.PREDICTOR], observed.blocked)
    facts = status.Facts(url=children.url(service, site), mode=types.mode(service),
                         parts={kind: part.facts for kind, part in parts.items()},
                         refused=exposure.problem(observed.http_routes))
    return Plan(
        revisions=[each for part in parts.values() for each in part.revisions],
        deployments=[each for part in parts.values() for each in part.deployments],
        services=[each for part in parts.values() for each in part.services],
        autoscalers=[each for part in parts.values() for each in part.autoscalers],
        others=[*exposure.make(service, wanted, facts.parts, site), *(
            (kinds.SCALED_OBJECTS, each) for part in parts.values() for each in part.scaled_objects)],
        route=children.make_route(service, _route(service, wanted, parts, facts, site), site),
        keep=frozenset(name for part in parts.values() for name in part.keep),
        drop_revisions=[name for part in parts.values() for name in part.drop_revisions],
        status=status.make(service, facts, now))


def blocked(observed: Observed, why: str) -> Observed:
    """The same observation, with a child that could not be written."""
    return replace(observed, blocked=why)


def _stopped(observed: Observed, site: Site, now: datetime) -> Plan:
    """Everything goes but the route, which says why, and the revisions: it starts again as it was."""
    service = observed.service
    return Plan(
        revisions=(), deployments=(), services=(), autoscalers=(), others=(), keep=frozenset(), drop_revisions=(),
        route=children.make_route(service, {
            "timeoutSeconds": types.predictor(service).timeout_seconds, "component": names.PREDICTOR, "backends": [],
            "message": status.STOPPED_BECAUSE}, site),
        status=status.make_stopped(service, types.mode(service), list(types.components(service)), now))


def _route(service: Object, wanted: Mapping[str, types.Component], parts: Mapping[str, components.Part],
           facts: status.Facts, site: Site) -> dict[str, Any]:
    entrance = names.TRANSFORMER if names.TRANSFORMER in wanted else names.PREDICTOR
    backends = {kind: [_backend(service, wanted[kind], share) for share in part.facts.shares]
                for kind, part in parts.items()}
    made: dict[str, Any] = {
        "timeoutSeconds": wanted[entrance].timeout_seconds,
        "component": entrance,
        "backends": backends[entrance],
    }
    rules: list[dict[str, Any]] = []
    if names.EXPLAINER in wanted:
        rules.append({"component": names.EXPLAINER, "suffix": ":explain", "backends": backends[names.EXPLAINER]})
    if len(wanted) > 1:
        rules += [{"component": kind, "hosts": [status.component_host(service, kind, site)], "backends": backends[kind]}
                  for kind in wanted]
    if rules:
        made["rules"] = rules
    logger = children.make_logger(service, wanted[entrance])
    if logger is not None:
        made["logger"] = logger
    message = status.why_not_ready(facts)
    return made | ({"message": message} if message else {})


def _backend(service: Object, component: types.Component, share: Share) -> dict[str, Any]:
    made: dict[str, Any] = {"revision": share.revision, "weight": share.percent, "endpoints": list(share.endpoints)}
    if component.extension.container_concurrency:
        made["concurrencyLimit"] = component.extension.container_concurrency
    if scaler(service, component) is Scaler.REQUESTS and component.min_replicas == 0:
        made["activate"] = True
    tagged = objects.annotations(service).get(names.TAG_ROUTING_ANNOTATION) == "true"
    tag = share.tag or (names.LATEST_TAG if share.latest and tagged else "")
    if tag:
        made["tag"] = tag
    return made
