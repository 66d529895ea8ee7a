"""The status of an InferenceService: changed only by the functions here. Pure; ``decide`` calls me.

Times move only when what they stamp changes, so that a second pass writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightship.domains.serving import names
from lightship.domains.serving.inference_service.failures import Failure
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object

_LOADED, _LOADING, _PENDING, _FAILED = "Loaded", "Loading", "Pending", "FailedToLoad"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a pass found out about the Pods."""

    url: str
    revision: str
    """The revision that the spec asks for; empty where no Pod can be made from it."""
    runtime: Object | None
    ready_target: int
    """Ready Pods of that revision."""
    ready_other: int
    """Ready Pods of earlier revisions."""
    pods_target: int
    failed_pods: int
    replicas: int
    failure: Failure | None
    invalid: bool
    """The failure is the spec's: waiting does not help."""
    stopped: bool


def make(service: Object, facts: Facts, now: datetime) -> dict[str, Any]:
    """The whole status as it should be now."""
    old = objects.status(service)
    ready = not facts.stopped and facts.replicas > 0 and facts.ready_target >= facts.replicas
    status: dict[str, Any] = {
        "observedGeneration": objects.generation(service),
        "deploymentMode": names.STANDARD_MODE,
        "url": facts.url,
        "address": {"url": facts.url},
        "components": {names.PREDICTOR: _component(old, facts, ready)},
        "modelStatus": _model_status(old, facts, ready, now),
        "conditions": _conditions(old, facts, ready, now),
    }
    if facts.runtime is not None:
        cluster = facts.runtime.get("kind") == "ClusterServingRuntime"
        status["clusterServingRuntimeName" if cluster else "servingRuntimeName"] = objects.name(facts.runtime)
    return status


def why_not_ready(facts: Facts) -> str:
    """One line for those who call the service meanwhile; empty where it is ready."""
    if facts.stopped:
        return f'it is stopped by the annotation {names.STOP_ANNOTATION}: "true"'
    if facts.failure is not None:
        return facts.failure.message
    if facts.ready_target < facts.replicas:
        what = "its Pods are starting" if facts.pods_target else "its Pods are not made yet"
        return f"{what} ({facts.ready_target} of {facts.replicas} ready)"
    return ""


def _component(old: dict[str, Any], facts: Facts, ready: bool) -> dict[str, Any]:
    before = ((old.get("components") or {}).get(names.PREDICTOR)) or {}
    component: dict[str, Any] = {"url": facts.url, "restUrl": facts.url}
    if facts.revision:
        component["latestCreatedRevision"] = facts.revision
    rolled = facts.revision if ready else before.get("latestRolledoutRevision")
    if rolled:
        component["latestReadyRevision"] = rolled
        component["latestRolledoutRevision"] = rolled
        component["traffic"] = [{"latestRevision": True, "percent": 100, "revisionName": rolled}]
    previous = before.get("previousRolledoutRevision")
    if ready and before.get("latestRolledoutRevision") not in (None, facts.revision):
        previous = before["latestRolledoutRevision"]
    if previous:
        component["previousRolledoutRevision"] = previous
    return component


def _model_status(old: dict[str, Any], facts: Facts, ready: bool, now: datetime) -> dict[str, Any]:
    active = _LOADED if facts.ready_target + facts.ready_other else ""
    if ready:
        transition, target = "UpToDate", _LOADED
    elif facts.failure is not None:
        transition = "InvalidSpec" if facts.invalid else "BlockedByFailedLoad"
        target = _FAILED
    else:
        transition, target = "InProgress", _LOADING if facts.pods_target else _PENDING
    found: dict[str, Any] = {
        "transitionStatus": transition,
        "states": {"activeModelState": active, "targetModelState": target},
        "copies": {"failedCopies": facts.failed_pods, "totalCopies": facts.ready_target + facts.ready_other},
    }
    if facts.failure is not None and not ready:
        found["lastFailureInfo"] = _failure_info((old.get("modelStatus") or {}).get("lastFailureInfo"), facts, now)
    return found


def _failure_info(old: dict[str, Any] | None, facts: Facts, now: datetime) -> dict[str, Any]:
    failure = facts.failure
    assert failure is not None
    info: dict[str, Any] = {"reason": failure.reason, "message": failure.message}
    if failure.location:
        info["location"] = failure.location
    if failure.exit_code is not None:
        info["exitCode"] = failure.exit_code
    if facts.revision:
        info["modelRevisionName"] = facts.revision
    same = old is not None and {key: value for key, value in old.items() if key != "time"} == info
    info["time"] = old["time"] if old is not None and same and "time" in old else times.rfc3339(now)
    return info


def _conditions(old: dict[str, Any], facts: Facts, ready: bool, now: datetime) -> list[dict[str, Any]]:
    why = why_not_ready(facts)
    if ready:
        predictor = conditions.make(names.PREDICTOR_READY, "True")
    elif facts.stopped:
        predictor = conditions.make(names.PREDICTOR_READY, "False", names.STOPPED, why)
    elif facts.failure is not None:
        predictor = conditions.make(names.PREDICTOR_READY, "False", facts.failure.reason, why)
    else:
        predictor = conditions.make(names.PREDICTOR_READY, "Unknown", "PredictorStarting", why)
    ingress = conditions.make(names.INGRESS_READY, "True")
    if not facts.ready_target + facts.ready_other:
        ingress = conditions.make(names.INGRESS_READY, predictor["status"] if not ready else "Unknown", "NoEndpoint",
                                  "the gateway has no endpoint to send requests to")
    whole = conditions.make(names.READY, "True") if ready else predictor | {"type": names.READY}
    wanted = [predictor, ingress, whole]
    if facts.stopped:
        wanted.append(conditions.make(names.STOPPED, "True"))
    merged = [condition for condition in old.get("conditions") or () if condition.get("type") != names.STOPPED
              or facts.stopped]
    for condition in wanted:
        merged = conditions.merge(merged, condition, now)
    return merged
