"""What is to be seen of a step's Pod: from a Kubernetes object to ``decide.PodView``. Pure; ``reconciler`` calls me."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightship.domains.pipelines import names
from lightship.domains.pipelines.decide import PodView
from lightship.kube import objects
from lightship.kube.objects import Object

_BENIGN_WAITS = ("", "ContainerCreating", "PodInitializing")


def view(pod: Object) -> PodView:
    """The Pod as the engine's decisions need it."""
    status = objects.status(pod)
    phase = str(status.get("phase") or "Pending")
    return PodView(
        phase=phase,
        reason=str(status.get("reason") or ""),
        failure=_failure(status) if phase == "Failed" else "",
        waiting=_waiting(status) if phase == "Pending" else "",
        deleting=objects.deleting(pod),
        scheduled=bool(objects.spec(pod).get("nodeName")),
    )


def failed_container(pod: Object) -> str:
    """The container whose log tells why the Pod failed, or an empty string where none has ended badly."""
    for status in _containers(objects.status(pod)):
        if _exit_code(status):
            return str(status.get("name"))
    return ""


def _failure(status: Object) -> str:
    """What the Pod says of itself (its deadline passed, it was evicted) goes before how its containers ended."""
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    told = [f"{reason}: {message}" if reason and message else reason or message]
    for container in _containers(status):
        code = _exit_code(container)
        if code:
            told.append(_ended_badly(container, code))
            break
    else:
        told.append(_waiting(status))  # What never started says what it waited for.
    return "; ".join(text for text in told if text) or "the Pod failed"


def _ended_badly(container: Object, code: int) -> str:
    ended = container["state"]["terminated"]
    reason, message = str(ended.get("reason") or ""), str(ended.get("message") or "")
    signal = int(ended.get("signal") or 0) or (code - 128 if code > 128 else 0)
    told = f"exit code {code}"
    if reason == "OOMKilled":
        told += " (out of memory)"
    elif signal:
        told += f" (killed by signal {signal})"
    elif reason not in ("", "Error"):
        told += f" ({reason})"
    what = {names.STAGE_IN: "its inputs could not be brought in: ",
            names.STAGE_OUT: "its outputs could not be kept: "}.get(str(container.get("name")), "")
    return f"{what}{told}" + (f": {message}" if message else "")


def _waiting(status: Object) -> str:
    """Why a Pod does not start, where that is worth telling."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason not in _BENIGN_WAITS:
            message = str(waiting.get("message") or "")
            return f"{reason}: {message}" if message else reason
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason') or 'Unschedulable'}: {condition.get('message') or ''}".rstrip(": ")
    return ""


def _containers(status: Object) -> Iterable[Object]:
    """Init containers first, then main, then the rest: the order in which a cause is looked for."""
    yield from status.get("initContainerStatuses") or []
    others: list[Any] = list(status.get("containerStatuses") or [])
    yield from sorted(others, key=lambda container: container.get("name") != names.MAIN)


def _exit_code(container: Object) -> int:
    ended = (container.get("state") or {}).get("terminated")
    return int(ended.get("exitCode") or 0) if ended else 0
