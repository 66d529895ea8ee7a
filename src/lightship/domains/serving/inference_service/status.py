"""The status of an InferenceService: changed only by the functions here. Pure; ``decide`` calls me.

Times move only when what they stamp changes, so that a second pass writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightship.domains.serving import names
from lightship.domains.serving.inference_service import components
from lightship.domains.serving.inference_service.failures import Failure
from lightship.domains.serving.site import Site
from lightship.kube import conditions, objects, times
from lightship.kube.conditions import Condition
from lightship.kube.objects import Object

_LOADED, _LOADING, _PENDING, _FAILED, _STANDBY = "Loaded", "Loading", "Pending", "FailedToLoad", "Standby"
STOPPED_BECAUSE = f'it is stopped by the annotation {names.STOP_ANNOTATION}: "true"'


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a pass found out."""

    url: str
    mode: str
    parts: Mapping[str, components.Facts]
    """By component, the predictor first."""
    refused: str = ""
    """Why the cluster does not route to it."""

    @property
    def predictor(self) -> components.Facts:
        return self.parts[names.PREDICTOR]

    @property
    def entrance(self) -> components.Facts:
        """Where requests come in."""
        return self.parts.get(names.TRANSFORMER, self.predictor)


def make(service: Object, facts: Facts, now: datetime) -> dict[str, Any]:
    """The whole status as it should be now."""
    old = objects.status(service)
    namespace = objects.namespace(service)
    status: dict[str, Any] = {
        "observedGeneration": objects.generation(service),
        "deploymentMode": facts.mode,
        "url": facts.url,
        "address": {"url": f"http://{names.cluster_host(facts.entrance.deployment, namespace)}"},
        "components": {kind: _component(old, kind, part, facts, namespace) for kind, part in facts.parts.items()},
        "modelStatus": _model_status(old.get("modelStatus") or {}, facts.predictor, now),
        "conditions": _conditions(old, facts, now),
    }
    if facts.predictor.canaries:
        status["canaryStatuses"] = [_canary_status(old, canary, now) for canary in facts.predictor.canaries]
    runtime = facts.predictor.runtime
    if runtime is not None:
        cluster = runtime.get("kind") == "ClusterServingRuntime"
        status["clusterServingRuntimeName" if cluster else "servingRuntimeName"] = objects.name(runtime)
    return status


def make_stopped(service: Object, mode: str, parts: Sequence[str], now: datetime) -> dict[str, Any]:
    """The status of a service that is stopped: that alone, as upstream, and what was rolled out, to go on from."""
    old = objects.status(service)
    wanted = [conditions.make(names.COMPONENT_READY[kind], "False", names.STOPPED, STOPPED_BECAUSE) for kind in parts]
    wanted += [conditions.make(names.INGRESS_READY, "False", names.STOPPED, STOPPED_BECAUSE),
               conditions.make(names.READY, "False", names.STOPPED, STOPPED_BECAUSE),
               conditions.make(names.STOPPED, "True")]
    kept = {kind: {key: value for key, value in part.items() if key.endswith("Revision")}
            for kind, part in (old.get("components") or {}).items() if kind in parts}
    return {
        "observedGeneration": objects.generation(service), "deploymentMode": mode,
        "conditions": _merged(old, wanted, now),
        **({"components": kept} if kept else {}),
    }


def why_not_ready(facts: Facts) -> str:
    """One line for those who call the service meanwhile; empty where it is ready."""
    for kind, part in facts.parts.items():
        if part.failure is not None:
            return part.failure.message
        if not part.ready:
            whose = "its Pods" if kind == names.PREDICTOR else f"its {kind}'s Pods"
            what = f"{whose} are starting" if part.pods else f"{whose} are not made yet"
            return f"{what} ({part.ready_pods} of {part.needed} ready)"
    return ""


def component_host(service: Object, component: str, site: Site) -> str:
    """The host name under which the gateway serves one component."""
    return names.host(f"{objects.name(service)}-{component}", objects.namespace(service), site.domain)


def _component(old: Mapping[str, Any], kind: str, part: components.Facts, facts: Facts,
               namespace: str) -> dict[str, Any]:
    before = (old.get("components") or {}).get(kind) or {}
    public = part is facts.entrance
    address = f"http://{names.cluster_host(part.deployment, namespace)}"
    url = facts.url if public else address
    made: dict[str, Any] = {"url": url, "restUrl": url, "address": {"url": address}}
    rolled, previous = before.get("latestRolledoutRevision"), before.get("previousRolledoutRevision")
    ready = before.get("latestReadyRevision")
    if part.split is not None:
        latest, rest = part.split.latest.name, part.split.rest
        made["latestCreatedRevision"] = latest
        if part.ready:
            ready = latest
        if rest is not None:
            rolled = rest.name  # also on the way back from one that was rolled out
        elif part.ready and part.complete and rolled != latest:
            previous, rolled = rolled, latest
        traffic = _traffic(part)
        if traffic:
            made["traffic"] = traffic
    elif before.get("latestCreatedRevision"):
        made["latestCreatedRevision"] = before["latestCreatedRevision"]
    made |= {key: value for key, value in (("latestReadyRevision", ready), ("latestRolledoutRevision", rolled),
                                           ("previousRolledoutRevision", previous)) if value}
    return made


def _traffic(part: components.Facts) -> list[dict[str, Any]]:
    """Knative's traffic targets: the latest revision, the one before by its tag, and each of ``canary[]``."""
    if not part.ready and not part.other_pods:
        return []
    return [{"latestRevision": share.latest, "percent": share.percent, "revisionName": share.revision,
             **({"tag": share.tag} if share.tag else {})} for share in part.shares]


def _model_status(old: Mapping[str, Any], part: components.Facts, now: datetime) -> dict[str, Any]:
    active = _LOADED if part.ready_pods + part.other_pods else ""
    if part.ready:
        transition, target = "UpToDate", _STANDBY if part.standby else _LOADED
        active = _STANDBY if part.standby and not active else active
    elif part.failure is not None:
        transition, target = "InvalidSpec" if part.invalid else "BlockedByFailedLoad", _FAILED
    else:
        transition, target = "InProgress", _LOADING if part.pods else _PENDING
    found: dict[str, Any] = {
        "transitionStatus": transition,
        "states": {"activeModelState": active, "targetModelState": target},
        "copies": {"failedCopies": part.failed_pods, "totalCopies": part.ready_pods + part.other_pods},
    }
    if part.failure is not None and not part.ready:
        revision = part.split.latest.name if part.split is not None else ""
        found["lastFailureInfo"] = _failure_info(old.get("lastFailureInfo"), part.failure, revision, now)
    return found


def _canary_status(old: Mapping[str, Any], canary: components.CanaryFacts, now: datetime) -> dict[str, Any]:
    before: Mapping[str, Any] = next((each for each in old.get("canaryStatuses") or ()
                                      if each.get("name") == canary.name), {})
    if canary.ready:
        model: dict[str, Any] = {"transitionStatus": "UpToDate",
                                 "states": {"activeModelState": _LOADED, "targetModelState": _LOADED}}
    elif canary.failure is not None:
        info = (before.get("modelStatus") or {}).get("lastFailureInfo")
        model = {"transitionStatus": "BlockedByFailedLoad",
                 "states": {"activeModelState": "", "targetModelState": _FAILED},
                 "lastFailureInfo": _failure_info(info, canary.failure, "", now)}
    else:
        model = {"transitionStatus": "InProgress", "states": {"activeModelState": "", "targetModelState": _LOADING}}
    return {"name": canary.name, "ready": canary.ready, "trafficPercent": canary.percent, "modelStatus": model}


def _failure_info(old: dict[str, Any] | None, failure: Failure, revision: str,
                  now: datetime) -> dict[str, Any]:
    info: dict[str, Any] = {"reason": failure.reason, "message": failure.message}
    if failure.location:
        info["location"] = failure.location
    if failure.exit_code is not None:
        info["exitCode"] = failure.exit_code
    if revision:
        info["modelRevisionName"] = revision
    same = old is not None and {key: value for key, value in old.items() if key != "time"} == info
    info["time"] = old["time"] if old is not None and same and "time" in old else times.rfc3339(now)
    return info


def _conditions(old: Mapping[str, Any], facts: Facts, now: datetime) -> list[Condition]:
    why = why_not_ready(facts)
    wanted = [_ready(kind, part, why) for kind, part in facts.parts.items()]
    bad = next((condition for condition in wanted if condition["status"] != "True"), None)
    entrance = facts.entrance
    ingress = conditions.make(names.INGRESS_READY, "True")
    if bad is not None and not entrance.ready and not entrance.other_pods + entrance.ready_pods:
        ingress = conditions.make(names.INGRESS_READY, bad["status"], "NoEndpoint",
                                  "the gateway has no endpoint to send requests to")
    elif bad is not None and bad["type"] != names.PREDICTOR_READY:
        ingress = conditions.make(names.INGRESS_READY, bad["status"], f"{bad['type']}Not", bad.get("message", ""))
    if facts.refused:
        ingress = conditions.make(names.INGRESS_READY, "False", "HTTPRouteNotAccepted", facts.refused)
        bad = bad or ingress
    wanted.append(ingress)
    wanted.append(conditions.make(names.READY, "True") if bad is None else bad | {"type": names.READY})
    wanted.append(conditions.make(names.STOPPED, "False"))
    if facts.predictor.canaries:
        all_ready = all(canary.ready for canary in facts.predictor.canaries)
        wanted.append(conditions.make(names.CANARY_READY, all_ready,
                                      "AllCanariesReady" if all_ready else "CanariesNotReady",
                                      next((canary.failure.message for canary in facts.predictor.canaries
                                            if canary.failure is not None), "")))
    if facts.mode == names.KNATIVE_MODE:
        wanted += _knative(wanted, facts)
    return _merged(old, wanted, now)


def _ready(kind: str, part: components.Facts, why: str) -> Condition:
    type = names.COMPONENT_READY[kind]
    if part.ready and not part.invalid:
        return conditions.make(type, "True")
    if part.failure is not None:
        return conditions.make(type, "False", part.failure.reason, part.failure.message)
    return conditions.make(type, "Unknown", f"{kind.capitalize()}Starting", why)


def _knative(wanted: Sequence[Condition], facts: Facts) -> list[Condition]:
    """What upstream adds where Knative runs the Pods: each component's route and configuration, and both for all."""
    by_type = {condition["type"]: condition for condition in wanted}
    made: list[Condition] = []
    for kind in facts.parts:
        ready = by_type[names.COMPONENT_READY[kind]]
        made += [ready | {"type": names.ROUTE_READY[kind]}, ready | {"type": names.CONFIGURATION_READY[kind]}]
    whole = by_type[names.READY]
    return [*made, whole | {"type": names.ROUTES_READY}, whole | {"type": names.LATEST_DEPLOYMENT_READY}]


def _merged(old: Mapping[str, Any], wanted: Sequence[Condition], now: datetime) -> list[Condition]:
    """The conditions of now: those of the same types as before in their places, and no others."""
    types = {condition["type"] for condition in wanted}
    merged = [condition for condition in old.get("conditions") or () if condition.get("type") in types]
    for condition in wanted:
        merged = conditions.merge(merged, condition, now)
    return merged
