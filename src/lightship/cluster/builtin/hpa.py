"""Scales what an autoscaler names by what its Pods use: HorizontalPodAutoscaler v2.

``builtin`` builds me; I call ``client``: the ``scale`` subresource of any kind, and ``metrics.k8s.io`` for usage. Pods,
Object and External metrics need an adapter that no cluster of ours has: a condition says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lightship import errors
from lightship.cluster.builtin import hpa_plan as plan
from lightship.cluster.builtin import pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects, quantities, selectors, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import HORIZONTAL_POD_AUTOSCALERS, POD_METRICS, PODS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Recorder

NAME = "horizontal-pod-autoscaler"
PERIOD_SECONDS = 15.0
HISTORY_SECONDS = 3600.0
STARTUP_SECONDS = 300.0
"""A Pod that has become ready only now is not trusted to show its usual CPU for so long, unless it is ready."""


class _Refused(Exception):
    """Why a metric gives nothing: a condition's reason and message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True, kw_only=True)
class _Target:
    path: str
    replicas: int
    selector: str


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The target's Pods, and what each one's containers use."""

    members: Sequence[Object]
    usage: Mapping[str, Mapping[str, Mapping[str, Any]]]


class Autoscaler:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._scalers = deps.manager.informer(HORIZONTAL_POD_AUTOSCALERS)
        self._pods = deps.manager.informer(PODS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, "horizontal-pod-autoscaler", deps.clock)
        self._histories: dict[str, plan.History] = {}
        self._plurals: dict[tuple[str, str], str] = {}
        self._looked_at: dict[str, int] = {}

    def keys_of(self, scaler: Object) -> Iterable[Key]:
        """What it is told wakes it, and the time; not its own status. (One that is gone is noticed by the time.)"""
        seen = self._looked_at.get(objects.uid(scaler)) == objects.generation(scaler)
        return () if seen else (objects.key(scaler),)

    async def reconcile(self, key: Key) -> Result:
        scaler = self._scalers.get(key)
        if scaler is None:
            there = {objects.uid(found) for found in self._scalers.list()}
            self._histories = {uid: history for uid, history in self._histories.items() if uid in there}
            self._looked_at = {uid: seen for uid, seen in self._looked_at.items() if uid in there}
            return DONE
        self._looked_at[objects.uid(scaler)] = objects.generation(scaler)
        said = _Said(scaler, self._clock)
        try:
            await self._scale(scaler, said)
        except _Refused as refused:
            said.condition("ScalingActive", False, refused.reason, refused.message)
            await self._events.event(scaler, "Warning", refused.reason, refused.message)
        await said.write(self._client, self._scalers.observe)
        return Result(requeue_after_seconds=PERIOD_SECONDS)

    async def _scale(self, scaler: Object, said: _Said) -> None:
        spec = objects.spec(scaler)
        try:
            target = await self._target(objects.namespace(scaler), spec.get("scaleTargetRef") or {})
        except errors.LightshipError as error:
            said.condition("AbleToScale", False, "FailedGetScale",
                           f"the HPA controller was unable to get the target's current scale: {error.message}")
            await self._events.event(scaler, "Warning", "FailedGetScale", error.message)
            return
        said.status |= {"currentReplicas": target.replicas}
        said.condition("AbleToScale", True, "SucceededGetScale",
                       "the HPA controller was able to get the target's current scale")
        low, high = int(spec.get("minReplicas") or 1), int(spec.get("maxReplicas") or 1)
        if target.replicas == 0 and spec.get("minReplicas") != 0:
            said.status["desiredReplicas"] = 0
            said.condition("ScalingActive", False, "ScalingDisabled",
                           "scaling is disabled since the replica count of the target is zero")
            return
        reason = ""
        if target.replicas > high:
            wanted, reason = high, "Current number of replicas above Spec.MaxReplicas"
        elif target.replicas < low:
            wanted, reason = low, "Current number of replicas below Spec.MinReplicas"
        else:
            raw, why = await self._proposed(scaler, target, said)
            history = self._histories.setdefault(objects.uid(scaler), plan.History())
            now = self._clock.monotonic()
            history.forget(now - HISTORY_SECONDS)
            verdict = plan.settle(spec, target.replicas, raw, now, history)
            said.condition("AbleToScale", True, *verdict.able)
            said.condition("ScalingLimited", *verdict.limited)
            wanted = verdict.replicas
            reason = f"{why} above target" if wanted > target.replicas else "All metrics below target"
        said.status["desiredReplicas"] = wanted
        if wanted != target.replicas:
            await self._rescale(scaler, target, wanted, reason)
            said.condition("AbleToScale", True, "SucceededRescale",
                           f"the HPA controller was able to update the target scale to {wanted}")
            said.status["lastScaleTime"] = times.rfc3339(self._clock.now())

    async def _rescale(self, scaler: Object, target: _Target, wanted: int, reason: str) -> None:
        body = await self._client.raw("GET", target.path)
        body["spec"] = (body.get("spec") or {}) | {"replicas": wanted}
        await self._client.raw("PUT", target.path, body=body)
        history = self._histories.setdefault(objects.uid(scaler), plan.History())
        history.changed(self._clock.monotonic(), target.replicas, wanted)
        await self._events.event(scaler, "Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")

    async def _target(self, namespace: str, reference: Mapping[str, Any]) -> _Target:
        version, kind = str(reference.get("apiVersion") or "v1"), str(reference.get("kind"))
        head = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = self._plurals.get((version, kind))
        if plural is None:
            listed = await self._client.raw("GET", head)
            plural = next((str(found["name"]) for found in listed.get("resources") or ()
                           if found.get("kind") == kind and "/" not in found["name"]), None)
            if plural is None:
                raise errors.NotFound(f'no matches for kind "{kind}" in group "{version.rpartition("/")[0]}"')
            self._plurals[version, kind] = plural
        name = quote(str(reference.get("name")), safe="")
        path = f"{head}/namespaces/{namespace}/{plural}/{name}/scale"
        try:
            scale = await self._client.raw("GET", path)
        except errors.NotFound:
            self._plurals.pop((version, kind), None)  # the kind may have gone, too
            raise
        return _Target(path=path, replicas=int(objects.spec(scale).get("replicas") or 0),
                       selector=str(objects.status(scale).get("selector") or ""))

    async def _proposed(self, scaler: Object, target: _Target, said: _Said) -> tuple[int, str]:
        """The most that any metric asks for. Raises ``_Refused``: without all its metrics nothing is scaled down."""
        seen = await self._seen(objects.namespace(scaler), target)
        spec = objects.spec(scaler)
        best, why, shown = -1, "", []
        refused: _Refused | None = None
        for metric in spec.get("metrics") or ():
            try:
                proposal, words, current = self._one(metric, seen, target, plan.tolerance(spec))
            except _Refused as error:
                refused = refused or error
                continue
            shown.append(current)
            if proposal.replicas > best:
                best, why = proposal.replicas, words
        said.status["currentMetrics"] = shown
        if refused is not None and best <= target.replicas:
            raise refused
        said.condition("ScalingActive", True, "ValidMetricFound",
                       f"the HPA was able to successfully calculate a replica count from {why}")
        return best, why

    async def _seen(self, namespace: str, target: _Target) -> _Seen:
        if not target.selector:
            raise _Refused("InvalidSelector", "the HPA target's scale is missing a selector")
        chosen = selectors.parse_labels(target.selector)
        members = [pod for pod in self._pods.list(namespace)
                   if chosen.matches(objects.labels(pod)) and pods.active(pod)]
        try:
            listed = await self._client.raw("GET", POD_METRICS.path(namespace),
                                            query={"labelSelector": target.selector})
        except errors.LightshipError as error:
            raise _Refused("FailedGetResourceMetric", "the HPA was unable to compute the replica count: unable to get "
                           f"metrics: {error.message}") from error
        usage = {objects.name(found): {str(part["name"]): part.get("usage") or {} for part in found["containers"]}
                 for found in listed.get("items") or ()}
        return _Seen(members=members, usage=usage)

    def _one(self, metric: Mapping[str, Any], seen: _Seen, target: _Target, tolerance: tuple[float, float]
             ) -> tuple[plan.Proposal, str, Object]:
        type = str(metric.get("type"))
        if type not in ("Resource", "ContainerResource"):
            raise _Refused(f"FailedGet{type}Metric", f"the HPA was unable to compute the replica count: {type} metrics "
                           "need a metrics adapter, which this cluster does not have: use Resource or "
                           "ContainerResource")
        field = "resource" if type == "Resource" else "containerResource"
        source = metric.get(field) or {}
        name, container = str(source.get("name")), str(source.get("container") or "")
        aim = source.get("target") or {}
        members = [self._member(pod, seen, name, container) for pod in seen.members]
        what = f"{name} {'container ' if container else ''}resource"
        current: Object = {"name": name} | ({"container": container} if container else {})
        if aim.get("averageUtilization") is not None:
            lacking = next((pod for pod, member in zip(seen.members, members, strict=True)
                            if member.requested is None), None)
            if lacking is not None:
                raise _Refused("FailedGetResourceMetric", "the HPA was unable to compute the replica count: failed to "
                               f"get {name} utilization: missing request for {name} in Pod {objects.name(lacking)}")
            found = plan.utilization(members, target.replicas, int(aim["averageUtilization"]), tolerance)
            words = f"{what} utilization (percentage of request)"
        else:
            amount = aim.get("averageValue") if aim.get("averageValue") is not None else aim.get("value")
            found = plan.average_value(members, target.replicas, quantities.milli(amount or 0), tolerance)
            words = what
        if found is None:
            raise _Refused("FailedGetResourceMetric", "the HPA was unable to compute the replica count: failed to get "
                           f"{name} utilization: did not receive metrics for targeted pods (pods might be unready)")
        shown: Object = {"averageValue": _amount(name, found.average)}
        if aim.get("averageUtilization") is not None:
            shown["averageUtilization"] = found.reading
        return found, words, {"type": type, field: current | {"current": shown}}

    def _member(self, pod: Object, seen: _Seen, name: str, container: str) -> plan.Member:
        parts = seen.usage.get(objects.name(pod))
        named = [found for found in objects.spec(pod).get("containers") or ()
                 if not container or found.get("name") == container]
        requests = [((found.get("resources") or {}).get("requests") or {}).get(name) for found in named]
        given = [quantities.milli(one) for one in requests if one is not None]
        requested = sum(given) if given and len(given) == len(requests) else None
        used: int | None = None
        if parts is not None:
            amounts = [usage[name] for part, usage in parts.items() if name in usage and container in ("", part)]
            used = sum(quantities.milli(amount) for amount in amounts) if amounts else None
        return plan.Member(used=used, requested=requested, ready=name != "cpu" or self._settled(pod))

    def _settled(self, pod: Object) -> bool:
        """Whether its CPU tells of its work and not of its start."""
        if pods.phase(pod) == "Pending":
            return False
        started = objects.status(pod).get("startTime")
        young = started is not None and (
            self._clock.now() - times.parse(str(started))).total_seconds() < STARTUP_SECONDS
        return pods.ready(pod) or not young


class _Said:
    """The status as it grows during a pass, and its one write."""

    def __init__(self, scaler: Object, clock: Any) -> None:
        self._scaler = scaler
        self._clock = clock
        self.status: dict[str, Any] = dict(objects.status(scaler)) | {
            "observedGeneration": objects.generation(scaler)}
        self.status.setdefault("desiredReplicas", 0)

    def condition(self, type: str, status: bool, reason: str, message: str) -> None:
        self.status["conditions"] = conditions.merge(
            self.status.get("conditions"), conditions.make(type, status, reason, message), self._clock.now())

    async def write(self, client: Any, observe: Any) -> None:
        observe(await apply.patch_status(client, HORIZONTAL_POD_AUTOSCALERS, self._scaler, self.status))


def _amount(name: str, thousandths: int) -> str:
    return f"{thousandths}m" if name == "cpu" else str(thousandths // 1000)


def controller(deps: Deps) -> Controller:
    reconciler = Autoscaler(deps)
    return Controller(name=NAME, reconciler=reconciler, workers=2,
                      watches=(Watch(resource=HORIZONTAL_POD_AUTOSCALERS, keys=reconciler.keys_of),))
