"""A Pod's status as kubelet writes it. Pure; ``supervisor`` keeps the view, I turn it into a status.

Only I know phases, conditions and their reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lightship.cluster.node.processes import Exit
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object

CREATING = "ContainerCreating"
INITIALIZING = "PodInitializing"
CRASH_LOOP = "CrashLoopBackOff"
NODE_RESTARTED = "NodeRestarted"
DEADLINE_EXCEEDED = "DeadlineExceeded"
EVICTED = "Evicted"
INTERNAL_ERROR = "InternalError"


@dataclass(eq=False)
class ContainerView:
    """What the node knows of one container. At any time it waits, runs or has terminated."""

    name: str
    image: str
    waiting: str = CREATING
    message: str = ""
    running_since: datetime | None = None
    terminated: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    container_id: str = ""
    image_id: str = ""
    sidecar: bool = False
    """An init container that goes on running beside the main ones."""
    resources: Mapping[str, Any] = field(default_factory=dict)

    def mark_waiting(self, reason: str, message: str = "") -> None:
        if self.terminated is not None:
            self.last, self.terminated = self.terminated, None
        self.waiting, self.message, self.running_since = reason, message, None
        self.started = self.ready = False

    def mark_running(self, now: datetime, container_id: str) -> None:
        self.waiting = self.message = ""
        self.running_since, self.container_id = now, container_id

    def mark_terminated(self, exit: Exit, now: datetime, reason: str, message: str = "") -> None:
        since = self.running_since or now
        self.terminated = {
            "exitCode": exit.code, "reason": reason, "startedAt": times.rfc3339(since),
            "finishedAt": times.rfc3339(now),
        }
        if self.container_id:
            self.terminated["containerID"] = self.container_id
        if exit.signal:
            self.terminated["signal"] = exit.signal
        if message:
            self.terminated["message"] = message
        self.waiting, self.message, self.running_since = "", "", None
        self.started = self.ready = False

    @property
    def succeeded(self) -> bool:
        return self.terminated is not None and self.terminated["exitCode"] == 0

    def status(self, *, init: bool) -> dict[str, Any]:
        if self.running_since is not None:
            state: dict[str, Any] = {"running": {"startedAt": times.rfc3339(self.running_since)}}
        elif self.terminated is not None:
            state = {"terminated": self.terminated}
        else:
            state = {"waiting": {"reason": self.waiting} | ({"message": self.message} if self.message else {})}
        status = {
            "name": self.name, "image": self.image, "imageID": self.image_id, "containerID": self.container_id,
            "state": state, "lastState": {"terminated": self.last} if self.last else {},
            "ready": self.succeeded if init and not self.sidecar else self.ready, "restartCount": self.restarts,
            "started": self.started,
        }
        if self.resources:
            status["resources"] = self.resources
            if self.resources.get("requests"):
                status["allocatedResources"] = self.resources["requests"]
        return status


@dataclass(eq=False)
class PodView:
    """What the node knows of one Pod."""

    init: list[ContainerView]
    main: list[ContainerView]
    pod_ip: str = ""
    host_ip: str = "127.0.0.1"
    start_time: datetime | None = None
    initialized: bool = False
    prepared: bool = False
    failure: tuple[str, str] | None = None
    """A reason and message that fail the Pod as a whole, such as DeadlineExceeded."""
    over: bool = False
    """No container will be started any more."""
    conditions: list[dict[str, Any]] = field(default_factory=list)


def view_of(pod: Object) -> PodView:
    spec = objects.spec(pod)
    init = [ContainerView(name=c["name"], image=str(c.get("image") or ""), waiting=INITIALIZING,
                          sidecar=c.get("restartPolicy") == "Always", resources=c.get("resources") or {})
            for c in spec.get("initContainers") or ()]
    first = INITIALIZING if init else CREATING
    main = [ContainerView(name=c["name"], image=str(c.get("image") or ""), waiting=first,
                          resources=c.get("resources") or {}) for c in spec.get("containers") or ()]
    return PodView(init=init, main=main, conditions=list(objects.status(pod).get("conditions") or ()))


def phase(view: PodView, policy: str) -> str:
    if view.failure is not None:
        return "Failed" if view.over else "Running"
    if not view.initialized:
        failed = [c for c in view.init if c.terminated is not None and not c.succeeded and not c.sidecar]
        return "Failed" if view.over or (failed and policy == "Never") else "Pending"
    running = [c for c in view.main if c.running_since is not None]
    waiting = [c for c in view.main if c.running_since is None and c.terminated is None]
    if not view.over and not running and any(c.sidecar and c.running_since is not None for c in view.init):
        return "Running"  # a Pod has not ended while its sidecars have not
    if view.over or (not running and not waiting and policy != "Always"):
        if all(c.succeeded for c in view.main):
            return "Succeeded"
        if view.over or policy == "Never":
            return "Failed"
        return "Running"
    if not running and any(c.last is None for c in waiting):
        return "Pending"
    return "Pending" if waiting and any(c.last is None for c in waiting) else "Running"


def build(pod: Object, view: PodView, now: datetime) -> dict[str, Any]:
    """The whole status; remembers the conditions in ``view`` so that their transition times last."""
    policy = objects.spec(pod).get("restartPolicy") or "Always"
    current = phase(view, policy)
    own = _conditions(pod, view, current)
    # What others say of the Pod (readiness gates, DisruptionTarget) is theirs: as it stands in the API.
    types = {condition["type"] for condition in own}
    view.conditions = [c for c in view.conditions if c["type"] in types] + [
        c for c in objects.status(pod).get("conditions") or () if c["type"] not in types]
    for condition in own:
        view.conditions = conditions.merge(view.conditions, condition, now)
    status: dict[str, Any] = {
        "phase": current, "conditions": view.conditions, "hostIP": view.host_ip,
        "hostIPs": [{"ip": view.host_ip}], "qosClass": qos_class(objects.spec(pod)),
        "containerStatuses": [container.status(init=False) for container in view.main],
    }
    if view.init:
        status["initContainerStatuses"] = [container.status(init=True) for container in view.init]
    if view.pod_ip:
        status |= {"podIP": view.pod_ip, "podIPs": [{"ip": view.pod_ip}]}
    if view.start_time:
        status["startTime"] = times.rfc3339(view.start_time)
    if view.failure is not None:
        status |= {"reason": view.failure[0], "message": view.failure[1]}
    return status


def failed(pod: Object, reason: str, message: str, now: datetime) -> dict[str, Any]:
    """The status of a Pod that is given up without a look at its containers."""
    status = objects.status(pod)
    container_statuses = [_given_up(entry, now) for entry in status.get("containerStatuses") or ()]
    merged: Sequence[dict[str, Any]] = list(status.get("conditions") or ())
    for type_ in ("Ready", "ContainersReady"):
        merged = conditions.merge(merged, conditions.make(type_, False, "PodFailed"), now)
    return {"phase": "Failed", "reason": reason, "message": message, "conditions": merged,
            "containerStatuses": container_statuses}


def _given_up(entry: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    if (entry.get("state") or {}).get("terminated"):
        return dict(entry)
    started = ((entry.get("state") or {}).get("running") or {}).get("startedAt")
    terminated = {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": times.rfc3339(now),
                  "message": "The container was ended with the node's process"}
    if started:
        terminated["startedAt"] = started
    return {**entry, "state": {"terminated": terminated}, "ready": False, "started": False}


def _conditions(pod: Object, view: PodView, current: str) -> list[dict[str, Any]]:
    unready = [c.name for c in (*(c for c in view.init if c.sidecar), *view.main) if not c.ready]
    incomplete = [c.name for c in view.init if not (c.started if c.sidecar else c.succeeded)]
    if current == "Succeeded":
        ready = conditions.make("Ready", False, "PodCompleted")
    elif current == "Failed":
        ready = conditions.make("Ready", False, "PodFailed")
    elif unready:
        ready = conditions.make("Ready", False, "ContainersNotReady",
                                f"containers with unready status: [{' '.join(unready)}]")
    else:
        ready = conditions.make("Ready", True)
    if view.initialized:
        initialized = conditions.make("Initialized", True, "PodCompleted" if current == "Succeeded" else "")
    else:
        initialized = conditions.make("Initialized", False, "ContainersNotInitialized",
                                      f"containers with incomplete status: [{' '.join(incomplete)}]")
    sandbox = view.prepared and current not in ("Succeeded", "Failed")
    return [conditions.make("PodReadyToStartContainers", sandbox), initialized, _gated(pod, ready),
            ready | {"type": "ContainersReady"}, conditions.make("PodScheduled", True)]


def _gated(pod: Object, ready: dict[str, Any]) -> dict[str, Any]:
    """Ready, as far as the Pod's readiness gates let it be."""
    if ready["status"] != "True":
        return ready
    told = {c["type"]: c.get("status") for c in objects.status(pod).get("conditions") or ()}
    problems = []
    for gate in objects.spec(pod).get("readinessGates") or ():
        name = gate["conditionType"]
        if name not in told:
            problems.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif told[name] != "True":
            problems.append(f'the status of pod readiness gate "{name}" is not "True", but {told[name]}')
    return conditions.make("Ready", False, "ReadinessGatesNotReady", ", ".join(problems)) if problems else ready


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, by the containers' requests and limits."""
    all_containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    any_set, guaranteed = False, True
    for container in all_containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            any_set = any_set or name in limits or name in requests
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
