"""Reading Pods: active, ready, finished, what they ask for. Pure; all controllers here call me."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from lightship.cluster.builtin import names
from lightship.kube import conditions, objects, pod_requests, times
from lightship.kube.pod_requests import Resources


def phase(pod: Mapping[str, Any]) -> str:
    return str(objects.status(pod).get("phase") or "Pending")


def finished(pod: Mapping[str, Any]) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def active(pod: Mapping[str, Any]) -> bool:
    """Neither finished nor on its way out."""
    return not finished(pod) and not objects.deleting(pod)


def ready(pod: Mapping[str, Any]) -> bool:
    return conditions.is_true(pod, "Ready")


def available_in_seconds(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> float | None:
    """0 when it has been ready long enough, else how long that takes yet; None when it is not ready."""
    condition = conditions.find(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    since = condition.get("lastTransitionTime")
    if not min_ready_seconds or not since:
        return 0.0
    return max(0.0, min_ready_seconds - (now - times.parse(str(since))).total_seconds())


DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def worth(pod: Mapping[str, Any], now: datetime, neighbours: int = 0) -> tuple[Any, ...]:
    """A key that orders active Pods by what would be lost with them, the least first, as upstream does.

    Unplaced before placed, pending before running, unready before ready, cheap before dear, crowded places (with more
    ``neighbours`` of the same kind) before others, ready for a shorter time, restarted more often, younger.
    """
    is_ready = ready(pod)
    since = (conditions.find(pod, "Ready") or {}).get("lastTransitionTime") if is_ready else None
    containers = objects.status(pod).get("containerStatuses") or ()
    restarts = max((int(state.get("restartCount") or 0) for state in containers), default=0)
    return (bool(objects.spec(pod).get("nodeName")), _PHASES.get(phase(pod), 1), is_ready, _cost(pod), -neighbours,
            _magnitude(str(since or ""), now), -restarts, -_seconds(created(pod)))


def _cost(pod: Mapping[str, Any]) -> int:
    text = str((objects.meta(pod).get("annotations") or {}).get(DELETION_COST) or "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _seconds(stamp: str) -> float:
    return times.parse(stamp).timestamp() if stamp else 0.0


def _magnitude(stamp: str, now: datetime) -> int:
    """An age by powers of two, so that ages of about the same size count as equal."""
    if not stamp:
        return 0
    return int(max(0.0, (now - times.parse(stamp)).total_seconds())).bit_length()


def ended(pod: Mapping[str, Any], now: datetime) -> datetime:
    """When it ended, as far as it says so."""
    moments = []
    for state in objects.status(pod).get("containerStatuses") or ():
        moment = ((state.get("state") or {}).get("terminated") or {}).get("finishedAt")
        if moment:
            moments.append(times.parse(str(moment)))
    if moments:
        return max(moments)
    unready = conditions.find(pod, "Ready")
    if unready is not None and unready.get("status") == "False" and unready.get("lastTransitionTime"):
        return times.parse(str(unready["lastTransitionTime"]))
    metadata = objects.meta(pod)
    if metadata.get("deletionTimestamp"):
        grace = timedelta(seconds=float(metadata.get("deletionGracePeriodSeconds") or 0))
        return times.parse(str(metadata["deletionTimestamp"])) - grace
    stamp = created(pod)
    return times.parse(stamp) if stamp else now


REFUSED_SECONDS = 5.0
"""How long a controller waits before it makes a failed Pod anew: one that a node refuses would be refused again."""


def anew_in_seconds(failed: Iterable[Mapping[str, Any]], now: datetime) -> float:
    """How long to wait before Pods that failed are made anew; 0 where that may be at once.

    Those that somebody disrupted, or that ended with the node's process, are not to blame and wait for nothing.
    """
    waits = [REFUSED_SECONDS - (now - ended(pod, now)).total_seconds() for pod in failed
             if phase(pod) == "Failed" and objects.status(pod).get("reason") != names.NODE_RESTARTED
             and not conditions.is_true(pod, "DisruptionTarget")]
    return max([0.0, *waits])


def created(obj: Mapping[str, Any]) -> str:
    """A key that orders objects by age, the oldest first."""
    return str(objects.meta(obj).get("creationTimestamp") or "")


def requests(pod: Mapping[str, Any]) -> Resources:
    """What the scheduler reserves for it."""
    return pod_requests.requests(objects.spec(pod))


def allocatable(node: Mapping[str, Any]) -> Resources:
    return pod_requests.amounts(objects.status(node).get("allocatable"))
