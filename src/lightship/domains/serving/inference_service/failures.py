"""Why a predictor's Pod does not serve, in one line. Pure: reads Pods and Deployments; ``decide`` calls me."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightship.domains.serving import names
from lightship.kube import conditions, objects
from lightship.kube.objects import Object

LIMIT_MESSAGE_CHARACTERS = 500
_BROKEN_WAITS = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError",
})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One reason of ``lastFailureInfo``; ``location`` is the Pod."""

    reason: str
    message: str
    location: str = ""
    exit_code: int | None = None


def of_pod(pod: Object) -> Failure | None:
    """What is wrong with a Pod that is not ready, or None while it may yet become ready."""
    status = objects.status(pod)
    found = next(_containers(pod), None)
    if found is not None:
        return found
    if status.get("phase") == "Failed":
        text = status.get("message") or status.get("reason") or "it failed without saying why"
        return Failure(reason=names.RUNTIME_UNHEALTHY, location=objects.name(pod),
                       message=f'Pod "{objects.name(pod)}" failed: {_line(str(text))}')
    scheduled = conditions.find(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        text = scheduled.get("message") or scheduled.get("reason") or "no node takes it"
        return Failure(reason=names.RUNTIME_UNHEALTHY, location=objects.name(pod),
                       message=f'Pod "{objects.name(pod)}" waits for a node: {_line(str(text))}')
    return None


def of_deployment(deployment: Object | None) -> Failure | None:
    """What keeps a Deployment from making Pods at all: quota, admission."""
    if deployment is None:
        return None
    condition = conditions.find(deployment, "ReplicaFailure")
    if condition is None or condition.get("status") != "True":
        return None
    return Failure(reason=names.RUNTIME_UNHEALTHY, location=objects.name(deployment),
                   message=f'Deployment "{objects.name(deployment)}" makes no Pod: '
                           f"{_line(str(condition.get('message') or condition.get('reason') or 'no reason given'))}")


def first(pods: Iterable[Object], deployment: Object | None) -> Failure | None:
    """The first Pod's failure, by name so that the answer does not jump about; else the Deployment's."""
    for pod in sorted(pods, key=objects.name):
        failure = of_pod(pod)
        if failure is not None:
            return failure
    return of_deployment(deployment)


def _containers(pod: Object) -> Iterator[Failure]:
    status = objects.status(pod)
    for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = entry.get("state") or {}
        ended = state.get("terminated") or (entry.get("lastState") or {}).get("terminated")
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in _BROKEN_WAITS:
            text = f"{waiting['reason']}: {_line(str(waiting.get('message') or 'no reason given'))}"
            yield _failure(pod, entry, names.RUNTIME_UNHEALTHY, text)
        elif ended and (ended.get("exitCode") or ended.get("signal")):
            yield _failure(pod, entry, names.MODEL_LOAD_FAILED, _ended(ended), exit_code=ended.get("exitCode"))


def _failure(pod: Object, entry: Mapping[str, Any], reason: str, text: str, *,
             exit_code: int | None = None) -> Failure:
    pod_name, container = objects.name(pod), str(entry.get("name", ""))
    see = f"kubectl -n {objects.namespace(pod)} logs {pod_name} -c {container}"
    return Failure(reason=reason, location=pod_name, exit_code=exit_code,
                   message=f'Pod "{pod_name}", container "{container}": {text} (see: {see})')


def _ended(ended: Mapping[str, Any]) -> str:
    how = f"was killed by signal {ended['signal']}" if ended.get("signal") else f"exited with {ended.get('exitCode')}"
    if ended.get("reason") not in (None, "", "Error", "Completed"):
        how += f" ({ended['reason']})"
    text = _line(str(ended.get("message") or ""))
    return f"{how}: {text}" if text else how


def _line(text: str) -> str:
    """The last line that says something, since a traceback and a log both end with the cause."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return last if len(last) <= LIMIT_MESSAGE_CHARACTERS else last[:LIMIT_MESSAGE_CHARACTERS - 3] + "..."
