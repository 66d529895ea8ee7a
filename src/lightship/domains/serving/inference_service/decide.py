"""From what is there to what should be: children, route and status of one InferenceService. Pure.

``reconciler`` observes and applies; I call ``select``, ``children``, ``failures`` and ``status``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lightship.domains.serving import names
from lightship.domains.serving.inference_service import children, failures, status, types
from lightship.domains.serving.inference_service.failures import Failure
from lightship.domains.serving.serving_runtime import select
from lightship.kube import conditions, objects
from lightship.kube.objects import Object


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that a decision rests on."""

    service: Object
    namespace_runtimes: Sequence[Object]
    cluster_runtimes: Sequence[Object]
    deployment: Object | None
    pods: Sequence[Object]
    blocked: str = ""
    """Why a child could not be written, where that is for the user to mend."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write. Children that are None are left as they are."""

    deployment: Object | None
    service: Object | None
    route: Object
    status: dict[str, Any]


def decide(observed: Observed, site: children.Site, now: datetime) -> Plan:
    """The plan for one pass."""
    service = observed.service
    predictor = types.predictor(service)
    chosen = _choose(predictor, observed)
    stopped = types.stopped(service)
    replicas = 0 if stopped else predictor.replicas
    deployment = kube_service = None
    failure: Failure | None = None
    revision, port = "", names.HTTP_PORT
    if isinstance(chosen, select.Refusal):
        failure = Failure(reason=chosen.reason, message=chosen.message)
    else:
        template = children.make_pod_template(service, predictor, chosen)
        revision, port = children.revision_of(template), children.port_of(template)
        deployment = children.make_deployment(service, template, replicas)
        kube_service = children.make_service(service, port)
    pods = _Pods.of(observed.pods, revision)
    if failure is None and not stopped and len(pods.ready_target) < replicas:
        failure = failures.first(pods.waiting_target, observed.deployment)
    invalid = isinstance(chosen, select.Refusal)
    if observed.blocked:
        failure, invalid = Failure(reason=names.INVALID_PREDICTOR_SPEC, message=observed.blocked), True
    facts = status.Facts(
        url=children.url(service, site), revision=revision,
        runtime=None if isinstance(chosen, select.Refusal) else chosen,
        ready_target=len(pods.ready_target), ready_other=len(pods.ready_other),
        pods_target=len(pods.ready_target) + len(pods.waiting_target),
        failed_pods=sum(failures.of_pod(pod) is not None for pod in pods.waiting_target),
        replicas=replicas, failure=failure, invalid=invalid, stopped=stopped)
    return Plan(
        deployment=deployment, service=kube_service,
        route=children.make_route(service, site, _backends(pods, facts, port),
                                  timeout_seconds=predictor.timeout_seconds, message=status.why_not_ready(facts)),
        status=status.make(service, facts, now))


def blocked(observed: Observed, why: str) -> Observed:
    """The same observation, with a child that could not be written."""
    return replace(observed, blocked=why)


@dataclass(frozen=True, kw_only=True)
class _Pods:
    """The predictor's Pods, sorted by what they are good for."""

    ready_target: tuple[Object, ...]
    ready_other: tuple[Object, ...]
    waiting_target: tuple[Object, ...]

    @classmethod
    def of(cls, pods: Sequence[Object], revision: str) -> _Pods:
        living = sorted((pod for pod in pods if not objects.deleting(pod)), key=objects.name)
        target = [pod for pod in living if objects.labels(pod).get(names.REVISION_LABEL) == revision]
        other = [pod for pod in living if objects.labels(pod).get(names.REVISION_LABEL) != revision]
        return cls(ready_target=tuple(filter(_ready, target)), ready_other=tuple(filter(_ready, other)),
                   waiting_target=tuple(pod for pod in target if not _ready(pod)))


def _ready(pod: Object) -> bool:
    return conditions.is_true(pod, "Ready") and bool(objects.status(pod).get("podIP"))


def _choose(predictor: types.Predictor, observed: Observed) -> Object | select.Refusal | None:
    """The runtime; None for a container of the user's own, which needs none."""
    model = predictor.model
    if model is None:
        return None
    wanted = select.Wanted(format=model.model_format.name, version=model.model_format.version or "",
                           protocol=predictor.protocol, runtime=model.runtime or "")
    return select.select(wanted, observed.namespace_runtimes, observed.cluster_runtimes)


def _backends(pods: _Pods, facts: status.Facts, port: int) -> list[Object]:
    """Who gets the traffic: the new revision alone once enough of it is ready, until then whoever is ready."""
    if facts.stopped:
        return []
    complete = len(pods.ready_target) >= facts.replicas
    serving = pods.ready_target if complete else (*pods.ready_target, *pods.ready_other)
    endpoints = [f"{objects.status(pod)['podIP']}:{port}" for pod in serving]
    return [{"revision": facts.revision, "weight": 100, "endpoints": endpoints}]
