"""What ``kubectl get`` prints of the core kinds: headings and cells, as upstream's printers have them.

Pure; ``core`` puts these into the registry and ``tables`` calls them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lightship import errors
from lightship.cluster.apiserver.registry import Printing
from lightship.kube import objects, times
from lightship.kube.objects import Object
from lightship.kube.resources import Column

NAME = Column(name="Name", path=".metadata.name", description="Name must be unique within a namespace.")
_AGE = Column(name="Age", path=".metadata.creationTimestamp", description="Time since the object was created.")


def age(obj: Object, now: datetime, path: str = "creationTimestamp") -> str:
    return since(objects.meta(obj).get(path), now)


def since(moment: Any, now: datetime) -> str:
    """The age of an RFC 3339 time, or ``<unknown>``."""
    if not isinstance(moment, str):
        return "<unknown>"
    try:
        return times.age((now - times.parse(moment)).total_seconds())
    except errors.InvalidInput:
        return "<unknown>"


def headings(*headings: str) -> tuple[Column, ...]:
    """Name, the headings (a trailing ``+`` is for ``-o wide`` only), Age before the wide ones."""
    narrow = [Column(name=h, path="") for h in headings if not h.endswith("+")]
    wide = [Column(name=h[:-1], path="", priority=1) for h in headings if h.endswith("+")]
    return (NAME, *narrow, _AGE, *wide)


def dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def labels_text(labels: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) if labels else "<none>"


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def access_modes(modes: Any) -> str:
    """The modes in short and in upstream's order, once each."""
    given = set(modes) if isinstance(modes, list) else set()
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def containers_of(template: Object) -> tuple[str, str]:
    containers = dicts(objects.spec(template).get("containers"))
    return (",".join(str(c.get("name", "")) for c in containers), ",".join(str(c.get("image", "")) for c in containers))


def pod_reason(obj: Object) -> str:
    """The STATUS column of a Pod: its phase, or what its containers say more precisely."""
    status = objects.status(obj)
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    conditions = {c.get("type"): c for c in dicts(status.get("conditions"))}
    if (conditions.get("PodScheduled") or {}).get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    waiting = _init_reason(obj)
    if waiting and (conditions.get("Initialized") or {}).get("status") != "True":
        reason = waiting
    else:
        reason = _main_reason(dicts(status.get("containerStatuses")), reason,
                              (conditions.get("Ready") or {}).get("status") == "True")
    if objects.deleting(obj) and status.get("phase") not in ("Succeeded", "Failed"):
        reason = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _init_reason(obj: Object) -> str:
    """What the first init container says that is neither done nor a sidecar that runs; empty where there is none."""
    inits = dicts(objects.status(obj).get("initContainerStatuses"))
    for number, container in enumerate(inits):
        state = container.get("state") or {}
        ended = state.get("terminated")
        if (ended and not ended.get("exitCode")) or (container.get("name") in sidecars(obj) and container.get(
                "started")):
            continue
        waiting = (state.get("waiting") or {}).get("reason")
        if ended:
            return f"Init:{ended.get('reason') or _ending(ended)}"
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{number}/{len(objects.spec(obj).get('initContainers') or inits)}"
    return ""


def _main_reason(containers: list[dict[str, Any]], reason: str, ready: bool) -> str:
    running, failed = False, ""
    for container in reversed(containers):
        state = container.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            reason = waiting
        elif ended := state.get("terminated"):
            reason = ended.get("reason") or _ending(ended)
            failed = reason if ended.get("exitCode") else failed
        elif state.get("running") is not None and container.get("ready"):
            running = True
    if reason == "Completed":
        return "Running" if running and ready else failed or ("NotReady" if running else reason)
    return reason


def sidecars(obj: Object) -> frozenset[str]:
    """The init containers that run as long as the Pod does."""
    return frozenset(str(c.get("name")) for c in dicts(objects.spec(obj).get("initContainers"))
                     if c.get("restartPolicy") == "Always")


def _ending(ended: dict[str, Any]) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"


def _pod(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    beside = sidecars(obj)
    lasting = [c for c in dicts(status.get("initContainerStatuses")) if c.get("name") in beside]
    containers = [*dicts(status.get("containerStatuses")), *lasting]
    ready = sum(1 for c in containers if c.get("ready"))
    counted = dicts(status.get("initContainerStatuses")) if _init_reason(obj) else containers
    gates = dicts(spec.get("readinessGates"))
    true = {c.get("type") for c in dicts(status.get("conditions")) if c.get("status") == "True"}
    passed = sum(1 for gate in gates if gate.get("conditionType") in true)
    return [objects.name(obj), f"{ready}/{len(spec.get('containers') or []) + len(beside)}", pod_reason(obj),
            _restarts(counted, now), age(obj, now), status.get("podIP") or "<none>", spec.get("nodeName") or "<none>",
            status.get("nominatedNodeName") or "<none>", f"{passed}/{len(gates)}" if gates else "<none>"]


def _restarts(containers: list[dict[str, Any]], now: datetime) -> str:
    count = sum(int(c.get("restartCount") or 0) for c in containers)
    ends = [str(ended["finishedAt"]) for c in containers
            if (ended := (c.get("lastState") or {}).get("terminated") or {}).get("finishedAt")]
    return f"{count} ({since(max(ends), now)} ago)" if count and ends else str(count)


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    names, images = containers_of(spec.get("template") or {})
    selector = labels_text((spec.get("selector") or {}).get("matchLabels"))
    return [objects.name(obj), f"{status.get('readyReplicas') or 0}/{spec.get('replicas', 1)}",
            status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0, age(obj, now), names, images,
            selector]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    names, images = containers_of(spec.get("template") or {})
    selector = labels_text((spec.get("selector") or {}).get("matchLabels"))
    return [objects.name(obj), spec.get("replicas", 1), status.get("replicas") or 0, status.get("readyReplicas") or 0,
            age(obj, now), names, images, selector]


def _job(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    true = {c.get("type") for c in dicts(status.get("conditions")) if c.get("status") == "True"}
    if objects.deleting(obj):
        true.add("Terminating")
    state = next((kind for kind in ("Complete", "Failed", "Terminating", "Suspended", "FailureTarget",
                                    "SuccessCriteriaMet") if kind in true), "Running")
    duration = ""
    if status.get("startTime"):
        end = times.parse(status["completionTime"]) if status.get("completionTime") else now
        duration = since(status["startTime"], end)
    wanted, parallel = spec.get("completions"), spec.get("parallelism") or 0
    if wanted is None:
        wanted = f"1 of {parallel}" if parallel > 1 else 1
    names, images = containers_of(spec.get("template") or {})
    return [objects.name(obj), state,
            f"{status.get('succeeded') or 0}/{wanted}", duration, age(obj, now), names, images,
            labels_text((spec.get("selector") or {}).get("matchLabels"))]


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = objects.spec(obj)
    ports = [f"{p.get('port')}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}"
             for p in dicts(spec.get("ports"))]
    external = _external(spec, objects.status(obj))
    return [objects.name(obj), spec.get("type", "ClusterIP"), spec.get("clusterIP") or "<none>", external,
            ",".join(ports) or "<none>", age(obj, now), labels_text(spec.get("selector"))]


def _external(spec: dict[str, Any], status: dict[str, Any]) -> str:
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or "")
    given = [str(ip) for ip in spec.get("externalIPs") or []]
    if spec.get("type") == "LoadBalancer":
        ingress = dicts((status.get("loadBalancer") or {}).get("ingress"))
        given = sorted({str(i.get("ip") or i.get("hostname") or "") for i in ingress}) + given
        return ",".join(given) or "<pending>"
    return ",".join(given) or "<none>"


def _node(obj: Object, now: datetime) -> list[Any]:
    status, spec = objects.status(obj), objects.spec(obj)
    ready = next((c for c in dicts(status.get("conditions")) if c.get("type") == "Ready"), {})
    state = {"True": "Ready", "False": "NotReady"}.get(str(ready.get("status")), "Unknown")
    if spec.get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(key.removeprefix(prefix) for key in objects.labels(obj) if key.startswith(prefix))
    info = status.get("nodeInfo") or {}
    addresses = {a.get("type"): a.get("address") for a in dicts(status.get("addresses"))}
    return [objects.name(obj), state, ",".join(roles) or "<none>", age(obj, now), info.get("kubeletVersion", ""),
            addresses.get("InternalIP") or "<none>", addresses.get("ExternalIP") or "<none>",
            info.get("osImage") or "<unknown>", info.get("kernelVersion") or "<unknown>",
            info.get("containerRuntimeVersion") or "<unknown>"]


def _event(obj: Object, now: datetime) -> list[Any]:
    about = obj.get("involvedObject") or {}
    last = obj.get("lastTimestamp") or obj.get("eventTime") or objects.meta(obj).get("creationTimestamp")
    first = obj.get("firstTimestamp") or obj.get("eventTime") or last
    source = (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""
    return [since(last, now), obj.get("type", ""), obj.get("reason", ""),
            f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}", about.get("fieldPath") or "", source,
            str(obj.get("message", "")).strip(), since(first, now), obj.get("count") or 1, objects.name(obj)]


def _claim(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    bound = bool(spec.get("volumeName"))
    return [objects.name(obj), "Terminating" if objects.deleting(obj) else status.get("phase", ""),
            spec.get("volumeName") or "", (status.get("capacity") or {}).get("storage", "") if bound else "",
            access_modes(status.get("accessModes")) if bound else "", spec.get("storageClassName") or "",
            spec.get("volumeAttributesClassName") or "<unset>", age(obj, now), spec.get("volumeMode") or "<unset>"]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), objects.status(obj).get("phase") or "Active", age(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), obj.get("type") or "Opaque", len(obj.get("data") or {}), age(obj, now)]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)]


def _account(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), age(obj, now)]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), objects.spec(obj).get("holderIdentity") or "", age(obj, now)]


_WORKLOAD = ("Containers+", "Images+", "Selector+")
PODS = Printing(columns=headings("Ready", "Status", "Restarts", "IP+", "Node+", "Nominated Node+", "Readiness Gates+"),
                cells=_pod)
DEPLOYMENTS = Printing(columns=headings("Ready", "Up-to-date", "Available", *_WORKLOAD), cells=_deployment)
REPLICA_SETS = Printing(columns=headings("Desired", "Current", "Ready", *_WORKLOAD), cells=_replica_set)
JOBS = Printing(columns=headings("Status", "Completions", "Duration", *_WORKLOAD), cells=_job)
SERVICES = Printing(columns=headings("Type", "Cluster-IP", "External-IP", "Port(s)", "Selector+"), cells=_service)
NODES = Printing(columns=(NAME, Column(name="Status", path=""), Column(name="Roles", path=""), _AGE,
                          Column(name="Version", path=""),
                          *(Column(name=n, path="", priority=1) for n in (
                              "Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"))),
                 cells=_node)
EVENTS = Printing(columns=(Column(name="Last Seen", path=""), Column(name="Type", path=""),
                           Column(name="Reason", path=""), Column(name="Object", path=""),
                           Column(name="Subobject", path="", priority=1), Column(name="Source", path="", priority=1),
                           Column(name="Message", path=""), Column(name="First Seen", path="", priority=1),
                           Column(name="Count", path="", priority=1), Column(name="Name", path="", priority=1)),
                  cells=_event)
CLAIMS = Printing(columns=headings("Status", "Volume", "Capacity", "Access Modes", "StorageClass",
                                   "VolumeAttributesClass", "VolumeMode+"), cells=_claim)
NAMESPACES = Printing(columns=headings("Status"), cells=_namespace)
SECRETS = Printing(columns=headings("Type", "Data"), cells=_secret)
CONFIG_MAPS = Printing(columns=headings("Data"), cells=_config_map)
SERVICE_ACCOUNTS = Printing(columns=headings(), cells=_account)
LEASES = Printing(columns=headings("Holder"), cells=_lease)
