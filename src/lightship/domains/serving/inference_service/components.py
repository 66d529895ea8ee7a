"""One component of an InferenceService: its Deployments, their Pods, and who of them serves. Pure; ``decide`` calls me.

I call ``select`` for the runtime, ``templates`` for the Pod, ``rollout`` for the revisions and ``scaling`` for numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from lightship import errors
from lightship.domains.serving import names
from lightship.domains.serving.inference_service import (
    children,
    containers,
    failures,
    rollout,
    scaling,
    templates,
    types,
)
from lightship.domains.serving.inference_service.failures import Failure
from lightship.domains.serving.inference_service.rollout import Revision, Share, Split
from lightship.domains.serving.inference_service.types import Component
from lightship.domains.serving.serving_runtime import select
from lightship.kube import conditions, objects
from lightship.kube.objects import Object


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that a decision rests on."""

    service: Object
    namespace_runtimes: Sequence[Object]
    cluster_runtimes: Sequence[Object]
    deployments: Mapping[str, Object]
    """The service's own, by name."""
    revisions: Sequence[Object]
    pods: Sequence[Object]
    http_routes: Sequence[Object] = ()
    keda: bool = False
    """The cluster has ScaledObjects."""
    blocked: str = ""
    """Why a child could not be written, where that is for the user to mend."""


@dataclass(frozen=True, kw_only=True)
class CanaryFacts:
    """One of ``canary[]``."""

    name: str
    deployment: str
    percent: int
    ready: bool
    failure: Failure | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a pass found out about a component."""

    deployment: str
    split: Split | None
    """None where no Pod can be made from the spec."""
    runtime: Object | None
    ready_pods: int
    """Ready Pods of the latest revision."""
    other_pods: int
    """Ready Pods of others."""
    pods: int
    failed_pods: int
    needed: int
    ready: bool
    standby: bool
    """It is ready without a Pod: the first request starts one."""
    complete: bool
    failure: Failure | None
    invalid: bool
    """The failure is the spec's: waiting does not help."""
    shares: tuple[Share, ...]
    canaries: tuple[CanaryFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A component's children and facts."""

    facts: Facts
    revisions: tuple[Object, ...] = ()
    deployments: tuple[Object, ...] = ()
    services: tuple[Object, ...] = ()
    autoscalers: tuple[Object, ...] = ()
    scaled_objects: tuple[Object, ...] = ()
    """KEDA's, where the cluster has it."""
    keep: frozenset[str] = frozenset()
    drop_revisions: tuple[str, ...] = ()


def plan(observed: Observed, component: Component) -> Part:
    """What a component is to have now."""
    pods = _Pods.of(observed, component)
    chosen = _choose(component, observed)
    if isinstance(chosen, select.Refusal):
        return _without_template(observed, component, pods, Failure(reason=chosen.reason, message=chosen.message))
    try:
        template = _template(observed, component, chosen)
        canaries = _canaries(observed, component, pods)
    except (errors.InvalidInput, msgspec.ValidationError) as problem:
        return _without_template(observed, component, pods,
                                 Failure(reason=names.INVALID_PREDICTOR_SPEC, message=str(problem)))
    revisions = rollout.read(observed.revisions, component.kind)
    before = _status(observed, component)
    template = _held(observed, before, revisions) or template
    split = rollout.split(names.component(objects.name(observed.service), component.kind), template, revisions, before,
                          component.extension.canary_traffic_percent)
    own = pods.without(frozenset(canary.deployment for canary in canaries) - {component.deployment(
        objects.name(observed.service))})
    return _Making(observed, component, own, split).part(chosen, revisions, canaries)


def blocked(part: Part, why: str) -> Part:
    """The part as it is told when a child could not be written."""
    failure = Failure(reason=names.INVALID_PREDICTOR_SPEC, message=why)
    return replace(part, facts=replace(part.facts, failure=failure, invalid=True, ready=False))


def _status(observed: Observed, component: Component) -> Mapping[str, object]:
    found = (objects.status(observed.service).get("components") or {}).get(component.kind)
    return found if isinstance(found, Mapping) else {}


def _choose(component: Component, observed: Observed) -> Object | select.Refusal | None:
    """The runtime; None for a container of the user's own, which needs none."""
    model = component.model
    if model is None:
        return None
    wanted = select.Wanted(format=model.model_format.name, version=model.model_format.version or "",
                           protocol=model.protocol_version or "", assumed_protocol=component.protocol,
                           runtime=model.runtime or "")
    return select.select(wanted, observed.namespace_runtimes, observed.cluster_runtimes)


def _template(observed: Observed, component: Component, runtime: Object | None) -> Object:
    service = observed.service
    host = ""
    if component.kind != names.PREDICTOR:
        host = types.predictor(service).deployment(objects.name(service))
    return templates.make(service, component, runtime, host)


def _held(observed: Observed, before: Mapping[str, object], revisions: Sequence[Revision]) -> Object | None:
    """The template to stay with where the user wants no rollout of what the spec did not ask for: a changed runtime."""
    service = observed.service
    if (objects.annotations(service).get(names.DISABLE_AUTO_UPDATE_ANNOTATION) != "true"
            or not conditions.is_true(service, names.READY)
            or objects.status(service).get("observedGeneration") != objects.generation(service)):
        return None
    return next((each.template for each in revisions if each.name == before.get("latestCreatedRevision")), None)


def _without_template(observed: Observed, component: Component, pods: _Pods, failure: Failure) -> Part:
    """Nothing can be made of the spec: what ran before runs on."""
    endpoints = tuple(endpoint for group in pods.ready.values() for endpoint in group)
    before = str(_status(observed, component).get("latestRolledoutRevision") or rollout.EARLIER)
    shares = (Share(revision=before, percent=100, endpoints=endpoints),) if endpoints else ()
    facts = Facts(
        deployment=component.deployment(objects.name(observed.service)), split=None, runtime=None, ready_pods=0,
        other_pods=len(endpoints), pods=0, failed_pods=0, needed=1, ready=False, standby=False, complete=False,
        failure=failure, invalid=True, shares=shares, canaries=())
    return Part(facts=facts, keep=frozenset(observed.deployments))


@dataclass(frozen=True, kw_only=True)
class _Canary:
    """One of ``canary[]``, with the Deployment it is to have."""

    component: Component
    percent: int
    deployment: str
    template: Object
    endpoints: tuple[str, ...]
    failure: Failure | None


def _canaries(observed: Observed, component: Component, pods: _Pods) -> list[_Canary]:
    if component.kind != names.PREDICTOR:
        return []
    made = []
    for canary, percent in types.canaries(observed.service):
        chosen = _choose(canary, observed)
        if isinstance(chosen, select.Refusal):
            raise errors.InvalidInput(f'canary "{canary.track}": {chosen.message}')
        template = templates.make(observed.service, canary, chosen)
        deployment = canary.deployment(objects.name(observed.service))
        group = (deployment, templates.digest_of(template))
        endpoints = pods.ready.get(group, ())
        failure = None if endpoints else failures.first(pods.waiting.get(group, ()),
                                                        observed.deployments.get(deployment))
        made.append(_Canary(component=canary, percent=percent, deployment=deployment, template=template,
                            endpoints=endpoints, failure=failure))
    return made


@dataclass(frozen=True, kw_only=True)
class _Pods:
    """A component's living Pods by the Deployment and the digest of the template they are of."""

    ready: Mapping[tuple[str, str], tuple[str, ...]]
    """Their endpoints."""
    waiting: Mapping[tuple[str, str], tuple[Object, ...]]

    @classmethod
    def of(cls, observed: Observed, component: Component) -> _Pods:
        ready: dict[tuple[str, str], tuple[str, ...]] = {}
        waiting: dict[tuple[str, str], tuple[Object, ...]] = {}
        for pod in sorted(observed.pods, key=objects.name):
            labels = objects.labels(pod)
            if objects.deleting(pod) or labels.get(names.COMPONENT_LABEL) != component.kind:
                continue
            group = (labels.get(names.APP_LABEL, "").removeprefix("isvc."), labels.get(names.REVISION_LABEL, ""))
            if conditions.is_true(pod, "Ready") and objects.status(pod).get("podIP"):
                port = containers.port_of(objects.spec(pod).get("containers") or ({},))
                ready[group] = (*ready.get(group, ()), f"{objects.status(pod)['podIP']}:{port}")
            else:
                waiting[group] = (*waiting.get(group, ()), pod)
        return cls(ready=ready, waiting=waiting)

    def without(self, deployments: frozenset[str]) -> _Pods:
        """Those of other Deployments than these."""
        return _Pods(ready={key: group for key, group in self.ready.items() if key[0] not in deployments},
                     waiting={key: group for key, group in self.waiting.items() if key[0] not in deployments})

    def endpoints(self, digest: str) -> tuple[str, ...]:
        return tuple(endpoint for (_, found), group in self.ready.items() if found == digest for endpoint in group)


class _Making:
    """The children and facts of a component that has a template."""

    def __init__(self, observed: Observed, component: Component, pods: _Pods, split: Split) -> None:
        self._observed, self._component, self._pods, self._split = observed, component, pods, split
        self._base = component.deployment(objects.name(observed.service))
        self._canary = names.canary(self._base)
        self._target = self._canary if split.rest is not None else self._base
        self._digest = split.latest.digest

    def part(self, runtime: Object | None, revisions: Sequence[Revision], canaries: Sequence[_Canary]) -> Part:
        service = self._observed.service
        facts = self._facts(runtime, revisions, canaries)
        made = [self._deployment(self._component, self._base, (self._split.rest or self._split.latest).template,
                                 self._base_replicas(canaries))]
        if self._split.rest is not None:
            made.append(self._deployment(self._component, self._canary, self._split.latest.template,
                                         self._canary_replicas()))
        made += [self._deployment(each.component, each.deployment, each.template, each.component.min_replicas)
                 for each in canaries]
        services = [children.make_service(service, self._component, self._base, made[0]["spec"]["template"])]
        if self._split.rest is not None:
            services.append(children.make_service(service, self._component, self._canary, self._split.latest.template))
        services += [
            children.make_service(service, each.component, each.deployment, each.template) for each in canaries]
        metadata = children.make_metadata(service, self._component.kind, self._base)
        hpa, scaled = self._scaled_by_objects()
        autoscalers = [scaling.make_hpa(self._component, metadata, self._base)] if hpa else []
        objects_of_keda = [scaling.make_scaled_object(self._component, metadata, self._base)] if scaled else []
        in_use = {self._split.latest.name, *(str(self._before(field)) for field in (
            "latestReadyRevision", "latestRolledoutRevision", "previousRolledoutRevision"))}
        keep = {objects.name(each) for each in (*made, *services)} | self._catching_up(revisions, facts)
        return Part(
            facts=facts, deployments=tuple(made), services=tuple(services), autoscalers=tuple(autoscalers),
            scaled_objects=tuple(objects_of_keda),
            revisions=(children.make_revision(service, self._component.kind, self._split.latest),)
            if self._split.new else (),
            keep=frozenset(keep), drop_revisions=tuple(rollout.superfluous(revisions, frozenset(in_use))))

    def _facts(self, runtime: Object | None, revisions: Sequence[Revision], canaries: Sequence[_Canary]) -> Facts:
        split, pods = self._split, self._pods
        latest = pods.endpoints(self._digest)
        waiting = tuple(pod for (deployment, digest), group in pods.waiting.items()
                        if digest == self._digest and deployment in self._deployments() for pod in group)
        desired = self._desired(self._target, self._canary_replicas() if split.rest else self._base_replicas(canaries))
        standby = desired == 0 and self._dynamic()
        complete = standby or len(latest) >= max(desired, 1)
        rest = self._pods.endpoints(split.rest.digest) if split.rest is not None else ()
        serving = rollout.Serving(
            latest=latest, rest=rest, earlier=self._earlier(revisions), complete=complete,
            earlier_name=str(self._before("latestRolledoutRevision")),
            rest_complete=len(rest) >= self._desired(self._base, self._base_replicas(canaries)))
        needed = self._needed(desired)
        ready = standby or len(latest) >= needed
        failure = None if ready else failures.first(waiting, self._observed.deployments.get(self._target))
        return Facts(
            deployment=self._base, split=split, runtime=runtime, ready_pods=len(latest),
            other_pods=len(rest) + len(serving.earlier), pods=len(latest) + len(waiting),
            failed_pods=sum(failures.of_pod(pod) is not None for pod in waiting), needed=needed, ready=ready,
            standby=standby, complete=complete, failure=failure, invalid=False,
            shares=tuple(_with_canaries(rollout.shares(split, serving), canaries)),
            canaries=tuple(CanaryFacts(name=each.component.track, deployment=each.deployment,
                                       percent=each.percent,
                                       ready=bool(each.endpoints), failure=each.failure) for each in canaries))

    def _needed(self, desired: int) -> int:
        """Pods that make it ready: all while the revision is new, ``minReplicas`` while it is scaled up and down."""
        if self._before("latestReadyRevision") == self._split.latest.name:
            return max(min(desired, self._component.min_replicas), 1)
        return max(desired, 1)

    def _before(self, field: str) -> object:
        return _status(self._observed, self._component).get(field) or ""

    def _dynamic(self) -> bool:
        who = scaling.scaler(self._observed.service, self._component)
        return who in (scaling.Scaler.REQUESTS, scaling.Scaler.EXTERNAL, scaling.Scaler.KEDA) or (
            self._component.min_replicas == 0 and who is scaling.Scaler.FIXED)

    def _scaled_by_objects(self) -> tuple[bool, bool]:
        """Whether a HorizontalPodAutoscaler is to be, and a ScaledObject; without KEDA the first does for both."""
        who = scaling.scaler(self._observed.service, self._component)
        keda = who is scaling.Scaler.KEDA and self._observed.keda
        return who is scaling.Scaler.HPA or (who is scaling.Scaler.KEDA and not keda), keda

    def _base_replicas(self, canaries: Sequence[_Canary]) -> int | None:
        """What to write; ready ones of ``canary[]`` take over their part of ``minReplicas``, as upstream has it."""
        taken = sum(each.component.min_replicas for each in canaries if each.endpoints)
        component = self._component
        if taken and component.extension.min_replicas:
            component = replace(component, extension=msgspec.structs.replace(
                component.extension, min_replicas=max(component.min_replicas - taken, 1)))
        return scaling.replicas(self._observed.service, component, self._observed.deployments.get(self._base))

    def _canary_replicas(self) -> int | None:
        if any(self._scaled_by_objects()):
            return max(self._component.min_replicas, 1)
        return scaling.replicas(self._observed.service, self._component,
                                self._observed.deployments.get(self._canary))

    def _desired(self, deployment: str, written: int | None) -> int:
        if written is not None:
            return written
        there = self._observed.deployments.get(deployment)
        return scaling.current_replicas(there) if there is not None else max(self._component.min_replicas, 1)

    def _deployments(self) -> frozenset[str]:
        return frozenset((self._base, self._canary))

    def _earlier(self, revisions: Sequence[Revision]) -> tuple[str, ...]:
        """Endpoints of what ran before: in the same Deployments, or in others while they were this component's.

        What was only ever one of ``canary[]`` has no revision, and is not among them.
        """
        rest, once = self._split.rest, {each.digest for each in revisions}
        wanted = {self._digest, rest.digest if rest is not None else self._digest}
        return tuple(endpoint for (deployment, digest), group in self._pods.ready.items()
                     if digest not in wanted and (deployment in self._deployments() or digest in once)
                     for endpoint in group)

    def _catching_up(self, revisions: Sequence[Revision], facts: Facts) -> set[str]:
        """Deployments that are no longer wanted and serve until the wanted one has as many Pods ready."""
        own = len(self._pods.ready.get((self._base, self._digest), ()))
        if self._split.rest is not None or facts.standby or own >= max(
                self._desired(self._base, self._base_replicas(())), 1):
            return set()
        once = {self._digest, *(each.digest for each in revisions)}
        return {name for name, there in self._observed.deployments.items()
                if objects.labels(there).get(names.COMPONENT_LABEL) == self._component.kind
                and objects.labels(there).get(names.REVISION_LABEL) in once}

    def _deployment(self, component: Component, name: str, template: Object, replicas: int | None) -> Object:
        """The Deployment, and where its template changes exactly the new one: what is not in it goes."""
        made = children.make_deployment(self._observed.service, component, name, template, replicas)
        there = self._observed.deployments.get(name)
        if there is not None and objects.labels(there).get(names.REVISION_LABEL) != templates.digest_of(template):
            made["spec"] |= {"template": children.exactly(objects.spec(there).get("template") or {},
                                                          made["spec"]["template"])}
        return made


def _with_canaries(shares: Sequence[Share], canaries: Sequence[_Canary]) -> list[Share]:
    """The shares with those of ``canary[]`` that are ready, which come off what the stable predictor has."""
    taken = sum(each.percent for each in canaries if each.endpoints)
    stable = [replace(share, percent=share.percent * (100 - taken) // 100) for share in shares] if taken else [*shares]
    return [*stable, *(Share(revision=each.deployment, percent=each.percent if each.endpoints else 0,
                             endpoints=each.endpoints, tag=each.component.track) for each in canaries)]
