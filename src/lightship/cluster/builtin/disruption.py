"""Counts what a PodDisruptionBudget allows, for evictions and preemption to keep to.

``builtin`` builds me; I call ``client``. The API server takes an evicted Pod off ``disruptionsAllowed`` at once and
writes it into ``disruptedPods``; I count anew when it is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightship import errors
from lightship.cluster.builtin import pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects, selectors, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, STATEFUL_SETS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Recorder

NAME = "disruption-controller"
CONFIRM_SECONDS = 120.0
"""So long an evicted Pod is believed to be on its way."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The budget's Pods, and how many their controllers want, by the controller's uid (None where it is unknown)."""

    members: Sequence[Object]
    scales: Mapping[str, int | None]


def decide(budget: Object, seen: Observed, now: datetime) -> dict[str, Any]:
    """The status. Raises ``errors.InvalidInput`` where the number of Pods that there should be is not to be had."""
    expected, desired = _numbers(objects.spec(budget), seen)
    alive = [pod for pod in seen.members if pods.active(pod)]
    disrupted = _still_disrupted(objects.status(budget).get("disruptedPods") or {}, alive, now)
    healthy = sum(1 for pod in alive if pods.ready(pod) and objects.name(pod) not in disrupted)
    allowed = max(0, healthy - desired) if expected > 0 else 0
    condition = (conditions.make("DisruptionAllowed", True, "SufficientPods", "") if allowed else
                 conditions.make("DisruptionAllowed", False, "InsufficientPods", ""))
    merged = conditions.merge(objects.status(budget).get("conditions"),
                              condition | {"observedGeneration": objects.generation(budget)}, now)
    status: dict[str, Any] = {
        "observedGeneration": objects.generation(budget), "currentHealthy": healthy, "desiredHealthy": desired,
        "expectedPods": expected, "disruptionsAllowed": allowed, "conditions": merged}
    return status | ({"disruptedPods": disrupted} if disrupted else {})


def _numbers(spec: Mapping[str, Any], seen: Observed) -> tuple[int, int]:
    """How many Pods there should be, and how many of them healthy."""
    if spec.get("maxUnavailable") is not None:
        expected = _expected(seen)
        return expected, max(0, expected - _scaled(spec["maxUnavailable"], expected))
    least = spec.get("minAvailable", 1)
    if isinstance(least, int):
        return sum(1 for pod in seen.members if not pods.finished(pod)), least
    expected = _expected(seen)
    return expected, _scaled(least, expected)


def _expected(seen: Observed) -> int:
    total: dict[str, int] = {}
    for pod in seen.members:
        owner = objects.controller_of(pod)
        if owner is None:
            raise errors.InvalidInput(f'found no controller for pod "{objects.name(pod)}"')
        scale = seen.scales.get(str(owner.get("uid")))
        if scale is None:
            raise errors.InvalidInput(f"{owner.get('kind')} \"{owner.get('name')}\" does not implement the scale "
                                      "subresource")
        total[str(owner["uid"])] = scale
    return sum(total.values())


def _scaled(value: Any, whole: int) -> int:
    if isinstance(value, int):
        return value
    return math.ceil(int(str(value).rstrip("%")) * whole / 100)


def _still_disrupted(said: Mapping[str, str], alive: Sequence[Object], now: datetime) -> dict[str, str]:
    names = {objects.name(pod) for pod in alive}
    return {name: since for name, since in said.items()
            if name in names and (now - times.parse(since)).total_seconds() < CONFIRM_SECONDS}


class Disruption:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        manager = deps.manager
        self._budgets = manager.informer(POD_DISRUPTION_BUDGETS)
        self._pods = manager.informer(PODS)
        self._scalable = {resource.kind: manager.informer(resource) for resource in (REPLICA_SETS, STATEFUL_SETS)
                          if deps.serves(resource)}
        self._client = manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, "controllermanager", deps.clock)

    async def reconcile(self, key: Key) -> Result:
        budget = self._budgets.get(key)
        if budget is None:
            return DONE
        members = [pod for pod in self._pods.list(key.namespace) if _covers(budget, pod)]
        try:
            status = decide(budget, Observed(members=members, scales=self._scales(members)), self._clock.now())
        except errors.InvalidInput as error:
            await self._failed(budget, error)
            return DONE
        self._budgets.observe(await apply.patch_status(self._client, POD_DISRUPTION_BUDGETS, budget, status))
        return Result(requeue_after_seconds=CONFIRM_SECONDS) if status.get("disruptedPods") else DONE

    def _scales(self, members: Iterable[Object]) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for pod in members:
            owner = objects.controller_of(pod) or {}
            informer = self._scalable.get(str(owner.get("kind")))
            there = informer.get(Key(objects.namespace(pod), str(owner.get("name")))) if informer is not None else None
            if there is not None and objects.uid(there) == owner.get("uid"):
                found[objects.uid(there)] = int(objects.spec(there).get("replicas", 1))
        return found

    async def _failed(self, budget: Object, error: errors.InvalidInput) -> None:
        condition = conditions.make("DisruptionAllowed", False, "SyncFailed", error.message)
        status = objects.status(budget)
        merged = conditions.merge(status.get("conditions"),
                                  condition | {"observedGeneration": objects.generation(budget)}, self._clock.now())
        wanted = status | {"conditions": merged, "disruptionsAllowed": 0,
                           "observedGeneration": objects.generation(budget)}
        if wanted == status:
            return
        self._budgets.observe(await apply.patch_status(self._client, POD_DISRUPTION_BUDGETS, budget, wanted))
        await self._events.event(budget, "Warning", "CalculateExpectedPodCountFailed",
                                 f"Failed to calculate the number of expected pods: {error.message}")

    def keys_of(self, pod: Object) -> Iterable[Key]:
        return [objects.key(budget) for budget in self._budgets.list(objects.namespace(pod)) if _covers(budget, pod)]

    def keys_of_owner(self, owner: Object) -> Iterable[Key]:
        """Budgets count what controllers want: all of the namespace, they are few."""
        return [objects.key(budget) for budget in self._budgets.list(objects.namespace(owner))]


def _covers(budget: Object, pod: Object) -> bool:
    selector = objects.spec(budget).get("selector")
    try:
        return selector is not None and selectors.from_object(selector).matches(objects.labels(pod))
    except errors.LightshipError:
        return False  # no server should have accepted it; it is about nobody


def controller(deps: Deps) -> Controller:
    reconciler = Disruption(deps)
    watches = [Watch(resource=POD_DISRUPTION_BUDGETS), Watch(resource=PODS, keys=reconciler.keys_of)]
    watches += [Watch(resource=resource, keys=reconciler.keys_of_owner) for resource in (REPLICA_SETS, STATEFUL_SETS)
                if deps.serves(resource)]
    return Controller(name=NAME, reconciler=reconciler, watches=tuple(watches), workers=1)
