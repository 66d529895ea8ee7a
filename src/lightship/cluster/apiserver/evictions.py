"""Eviction: a deletion that a disruption budget may refuse. ``server`` calls me; I build on ``deletes`` and ``writes``.

A budget's count is taken down before the Pod goes, and by compare-and-swap, so that two who drain at once cannot spend
it twice. The controller of budgets (``builtin.disruption``) counts anew what is there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import bodies, deletes, reads, shapes, statuses, writes
from lightship.cluster.apiserver.backend import Backend, Call, conflict, decode, encode
from lightship.cluster.apiserver.errors import DisruptionRefused
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.errors import RevisionConflict
from lightship.cluster.store.store import Entry
from lightship.kube import conditions, objects, selectors, times
from lightship.kube.objects import Object
from lightship.kube.resources import POD_DISRUPTION_BUDGETS

BUDGETS = POD_DISRUPTION_BUDGETS.group_resource
LIMIT_DISRUPTED_PODS = 2000
RETRY_SECONDS = 10
VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."


async def evict(backend: Backend, call: Call) -> Response:
    """POST to a Pod's ``eviction``."""
    body = bodies.read(call.request)
    if not isinstance(body, dict):
        raise errors.BadRequest("the body must be an Eviction")
    shapes.convert(body.get("deleteOptions") or {}, dict, "deleteOptions")
    how = deletes.options(call, body.get("deleteOptions"))
    pod = decode(backend.entry(call).value)
    if not _unbudgeted(pod):
        await _spend(backend, call, pod, dry_run=how.dry_run)
        if not how.dry_run:
            await _mark(backend, call)
    await deletes.delete_entry(backend, call, how)
    return Response(status=201, headers=reads.HEADERS, body=encode(statuses.success(201)))


def _unbudgeted(pod: Object) -> bool:
    """Whether nobody counts on the Pod."""
    phase = objects.status(pod).get("phase") or "Pending"
    return phase in ("Succeeded", "Failed", "Pending") or objects.deleting(pod)


async def _spend(backend: Backend, call: Call, pod: Object, *, dry_run: bool) -> None:
    """Take the Pod off its budget. Raises ``DisruptionRefused``."""
    for _ in range(writes.LIMIT_ATTEMPTS):
        found = _budgets(backend, call.target.namespace, pod)
        if not found:
            return
        if len(found) > 1:
            raise errors.InternalError("This pod has more than one PodDisruptionBudget, which the eviction subresource "
                                       "does not support.")
        key, entry, budget = found[0]
        changed = _spent(budget, pod, times.rfc3339(backend.clock.now()))
        if changed is None or dry_run:
            return
        try:
            await backend.store.put(key, writes.render(changed), entry.revision)
            return
        except RevisionConflict:
            continue
    raise conflict(call, f"{writes.LIMIT_ATTEMPTS} attempts lost against other evictions")


def _budgets(backend: Backend, namespace: str, pod: Object) -> list[tuple[Key, Entry, Object]]:
    found = []
    for item in backend.store.snapshot(BUDGETS, namespace).items:
        budget = decode(item.entry.value)
        selector = objects.spec(budget).get("selector")
        if selector is not None and selectors.from_object(selector).matches(objects.labels(pod)):
            found.append((Key(BUDGETS, item.namespace, item.name), item.entry, budget))
    return found


def _spent(budget: Object, pod: Object, now: str) -> Object | None:
    """The budget less the Pod, or None where the Pod does not count. Raises ``DisruptionRefused``."""
    name, status = objects.name(budget), objects.status(budget)
    if not conditions.is_true(pod, "Ready"):
        if objects.spec(budget).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return None
        if status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0:
            return None
    if int(status.get("observedGeneration") or 0) < objects.generation(budget):
        raise DisruptionRefused(VIOLATED, f"The disruption budget {name} is still being processed by the server.",
                                retry_after_seconds=RETRY_SECONDS)
    disrupted: dict[str, Any] = dict(status.get("disruptedPods") or {})
    allowed = int(status.get("disruptionsAllowed") or 0)
    if len(disrupted) > LIMIT_DISRUPTED_PODS:
        raise errors.Forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    if allowed <= 0:
        raise DisruptionRefused(VIOLATED, f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} "
                                          f"healthy pods and has {status.get('currentHealthy', 0)} currently")
    disrupted[objects.name(pod)] = now
    return budget | {"status": status | {"disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}}


async def _mark(backend: Backend, call: Call) -> None:
    """Say in the Pod's status why it goes."""
    why = conditions.make("DisruptionTarget", True, "EvictionByEvictionAPI", "Eviction API: evicting")
    now = backend.clock.now()

    def change(old: Object) -> Object:
        merged = conditions.merge(objects.status(old).get("conditions"), why, now)
        return old | {"status": objects.status(old) | {"conditions": merged}}

    await writes.modify_entry(backend, replace(call, target=replace(call.target, subresource="status")), change)
