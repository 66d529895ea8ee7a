"""Which nodes a DaemonSet needs Pods on, and which of its Pods have to go. Pure; ``daemonsets`` calls me."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightship.cluster.builtin import children, pods
from lightship.cluster.builtin.controller_revisions import POD_REVISION, revision_of
from lightship.cluster.builtin.scheduling import affinity
from lightship.cluster.builtin.scheduling.facts import NodeFacts, PodFacts
from lightship.kube import objects
from lightship.kube.objects import Object

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"), ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"), ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True)
class Seen:
    """A DaemonSet with all nodes and its Pods; ``revision`` is the hash of its present template."""

    daemon_set: Object
    nodes: Sequence[Object]
    owned: Sequence[Object]
    revision: str
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Names of nodes that get a Pod, and Pods to delete."""

    create: tuple[str, ...] = ()
    delete: tuple[Object, ...] = ()


def make_pod(daemon_set: Object, node: str, suffix: str, revision: str) -> Object:
    """A Pod that only that node suits."""
    name = objects.name(daemon_set)
    pod = children.pod_from(objects.spec(daemon_set).get("template") or {}, daemon_set,
                            f"{name[:57].rstrip('-.')}-{suffix}", f"{name}-")
    pod["metadata"]["labels"][POD_REVISION] = revision
    spec = pod["spec"]
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_tolerations(spec)]
    near = dict(spec.get("affinity") or {})
    on_node = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    terms = ((near.get("nodeAffinity") or {}).get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    near["nodeAffinity"] = dict(near.get("nodeAffinity") or {}) | {
        _REQUIRED: {"nodeSelectorTerms": [dict(term) | on_node for term in terms]}}
    spec["affinity"] = near
    return pod


def node_of(pod: Object) -> str:
    """The node that it is on, or is for."""
    bound = objects.spec(pod).get("nodeName")
    if bound:
        return str(bound)
    required = ((objects.spec(pod).get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def decide(seen: Seen) -> Plan:
    """The next step."""
    placed = _placed(seen)
    create: list[str] = []
    delete: list[Object] = []
    wanted: list[str] = []
    for node in seen.nodes:
        name = objects.name(node)
        may_start, may_stay = suits(seen.daemon_set, node)
        here = placed.pop(name, [])
        over = [pod for pod in here if pods.finished(pod)]
        running = [pod for pod in here if not pods.finished(pod)]
        delete += [pod for pod in over if not objects.deleting(pod) and not pods.anew_in_seconds((pod,), seen.now)]
        if not may_stay:
            delete += [pod for pod in running if not objects.deleting(pod)]
        elif may_start and not here:
            create.append(name)
        elif may_start:
            wanted.append(name)
        for revision in {revision_of(pod) for pod in running} if may_stay else ():
            same = sorted((pod for pod in running if revision_of(pod) == revision and not objects.deleting(pod)),
                          key=lambda pod: (not pods.ready(pod), pods.created(pod)))
            delete += same[1:]
    for lost in placed.values():  # of nodes that are no more
        delete += [pod for pod in lost if not objects.deleting(pod)]
    gone = {objects.uid(pod) for pod in delete}
    more, fewer = _roll(seen, wanted, gone, len(wanted) + len(create))
    return Plan(create=(*create, *more), delete=(*delete, *fewer))


def suits(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """Whether a Pod may start on the node, and whether one that is there may stay."""
    template = objects.spec(daemon_set).get("template") or {}
    spec = objects.spec(template)
    if spec.get("nodeName") not in (None, "", objects.name(node)):
        return False, False
    if not affinity.node_matches(PodFacts({"metadata": objects.meta(template), "spec": spec}), NodeFacts(node=node)):
        return False, False
    tolerations = [*(spec.get("tolerations") or ()), *_tolerations(spec)]
    bad = [taint for taint in objects.spec(node).get("taints") or () if taint.get("effect") != "PreferNoSchedule"
           and not affinity.tolerated(taint, tolerations)]
    return not bad, not any(taint.get("effect") == "NoExecute" for taint in bad)


def _roll(seen: Seen, wanted: Sequence[str], gone: set[str], desired: int) -> tuple[list[str], list[Object]]:
    """Nodes that get a second Pod, of the new template, and old Pods that go."""
    strategy = objects.spec(seen.daemon_set).get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return [], []
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", 0), desired)
    unavailable = _share(rolling.get("maxUnavailable", 1), desired)
    if not surge and not unavailable:
        unavailable = 1
    placed = _placed(seen)
    create: list[str] = []
    replaceable: list[Object] = []
    broken: list[Object] = []
    missing = desired - len(wanted)
    surging = 0
    for name in wanted:
        here = [pod for pod in placed.get(name, ()) if not pods.finished(pod) and objects.uid(pod) not in gone]
        living = [pod for pod in here if not objects.deleting(pod)]
        old = [pod for pod in living if revision_of(pod) != seen.revision]
        new = [pod for pod in living if revision_of(pod) == seen.revision]
        missing += not any(_available(seen, pod) for pod in living)
        surging += bool(old and new)
        if old and new and any(_available(seen, pod) for pod in new):
            broken += old  # its successor is there
        elif old and not new:
            (replaceable if _available(seen, old[0]) else broken).extend(old)
    if surge:
        free = max(0, surge - surging)
        create = [node_of(pod) for pod in replaceable][:free]
        return create, broken
    return [], broken + replaceable[:max(0, unavailable - missing)]


def _available(seen: Seen, pod: Object) -> bool:
    seconds = int(objects.spec(seen.daemon_set).get("minReadySeconds") or 0)
    return pods.available_in_seconds(pod, seconds, seen.now) == 0


def status(seen: Seen) -> tuple[dict[str, Any], float | None]:
    """The whole status, and in how many seconds the next Pod becomes available."""
    placed = _placed(seen)
    seconds = int(objects.spec(seen.daemon_set).get("minReadySeconds") or 0)
    counts = dict.fromkeys(("current", "desired", "astray", "ready", "available", "updated"), 0)
    waits = []
    for node in seen.nodes:
        may_start, _ = suits(seen.daemon_set, node)
        here = [pod for pod in placed.get(objects.name(node), ()) if not objects.deleting(pod)]
        counts["desired"] += may_start
        if not here:
            continue
        if not may_start:
            counts["astray"] += 1
            continue
        best = min(here, key=lambda pod: (revision_of(pod) != seen.revision, pods.created(pod)))
        left = [pods.available_in_seconds(pod, seconds, seen.now) for pod in here]
        waits += [wait for wait in left if wait]
        waits += [wait for pod in here if (wait := pods.anew_in_seconds((pod,), seen.now))]
        counts["current"] += 1
        counts["updated"] += revision_of(best) == seen.revision
        counts["ready"] += any(pods.ready(pod) for pod in here)
        counts["available"] += any(wait == 0 for wait in left)
    result: dict[str, Any] = {
        "currentNumberScheduled": counts["current"], "desiredNumberScheduled": counts["desired"],
        "numberMisscheduled": counts["astray"], "numberReady": counts["ready"],
        "observedGeneration": objects.generation(seen.daemon_set)}
    optional = {"updatedNumberScheduled": counts["updated"], "numberAvailable": counts["available"],
                "numberUnavailable": counts["desired"] - counts["available"]}
    result |= {name: count for name, count in optional.items() if count}
    return result, min(waits, default=None)


def _placed(seen: Seen) -> dict[str, list[Object]]:
    placed: dict[str, list[Object]] = {}
    for pod in seen.owned:
        placed.setdefault(node_of(pod), []).append(pod)
    return placed


def _tolerations(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that every Pod of a DaemonSet has, so that it stays where others would leave."""
    wanted = [*_TOLERATED, *((("node.kubernetes.io/network-unavailable", "NoSchedule"),)
                             if spec.get("hostNetwork") else ())]
    return [{"key": key, "operator": "Exists", "effect": effect} for key, effect in wanted]


def _share(value: Any, whole: int) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(whole * int(value[:-1]) / 100)
    return int(value or 0)
