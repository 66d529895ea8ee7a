"""What ``kubectl get`` prints of workloads and of what scales or guards them, as upstream's printers have it.

Pure; ``kinds.workload_table`` puts these into the registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from lightship.cluster.apiserver.columns import NAME, age, containers_of, dicts, headings, labels_text, since
from lightship.cluster.apiserver.registry import Printing
from lightship.kube import objects, selectors
from lightship.kube.objects import Object
from lightship.kube.resources import Column

SHOWN_METRICS = 2
_WORKLOAD = ("Containers+", "Images+", "Selector+")
_UNKNOWN = "<unknown>"


def selector_text(selector: Any) -> str:
    """A label selector as ``kubectl`` writes it; ``<none>`` for an empty one."""
    return selectors.render(selectors.from_object(selector)) or "<none>" if selector else "<none>"


def _template_cells(spec: dict[str, Any]) -> list[Any]:
    return [*containers_of(spec.get("template") or {}), selector_text(spec.get("selector"))]


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    return [objects.name(obj), f"{status.get('readyReplicas') or 0}/{spec.get('replicas', 1)}", age(obj, now),
            *containers_of(spec.get("template") or {})]


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    counts = [status.get(field) or 0 for field in ("desiredNumberScheduled", "currentNumberScheduled", "numberReady",
                                                   "updatedNumberScheduled", "numberAvailable")]
    node_selector = objects.spec(spec.get("template") or {}).get("nodeSelector")
    return [objects.name(obj), *counts, labels_text(node_selector), age(obj, now), *_template_cells(spec)]


def _replication_controller(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    return [objects.name(obj), spec.get("replicas", 1), status.get("replicas") or 0, status.get("readyReplicas") or 0,
            age(obj, now), *containers_of(spec.get("template") or {}), labels_text(spec.get("selector"))]


def _pod_template(obj: Object, now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    return [objects.name(obj), *containers_of(template), labels_text(objects.labels(template))]


def _controller_revision(obj: Object, now: datetime) -> list[Any]:
    owner = objects.controller_of(obj)
    controller = "<none>"
    if owner:
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        kind = str(owner.get("kind", "")).lower()
        controller = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return [objects.name(obj), controller, str(obj.get("revision") or 0), age(obj, now)]


def _cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    last = status.get("lastScheduleTime")
    job = objects.spec(spec.get("jobTemplate") or {})
    return [objects.name(obj), spec.get("schedule", ""), spec.get("timeZone") or "<none>",
            str(bool(spec.get("suspend"))).capitalize(), len(dicts(status.get("active"))),
            since(last, now) if last else "<none>", age(obj, now), *_template_cells(job)]


def _job_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    completed = next((c.get("status", "") for c in dicts(status.get("conditions")) if c.get("type") == "Completed"), "")
    suspended = spec.get("suspend")
    return [objects.name(obj), status.get("terminalState") or "", str(status.get("restarts") or 0), completed,
            "" if suspended is None else str(suspended).lower(), age(obj, now)]


def _budget(obj: Object, now: datetime) -> list[Any]:
    spec = objects.spec(obj)
    return [objects.name(obj), *(str(spec[field]) if spec.get(field) is not None else "N/A"
                                 for field in ("minAvailable", "maxUnavailable")),
            objects.status(obj).get("disruptionsAllowed") or 0, age(obj, now)]


def _autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    target = spec.get("scaleTargetRef") or {}
    shown = list(_metrics(dicts(spec.get("metrics")), dicts(status.get("currentMetrics"))))
    text = ", ".join(shown[:SHOWN_METRICS])
    if len(shown) > SHOWN_METRICS:
        text += f" + {len(shown) - SHOWN_METRICS} more..."
    return [objects.name(obj), f"{target.get('kind', '')}/{target.get('name', '')}", text or "<none>",
            "<unset>" if spec.get("minReplicas") is None else str(spec["minReplicas"]),
            str(spec.get("maxReplicas") or 0), str(status.get("currentReplicas") or 0), age(obj, now)]


_SOURCES = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
            "External": "external"}


def _metrics(wanted: list[dict[str, Any]], found: list[dict[str, Any]]) -> Iterator[str]:
    for number, metric in enumerate(wanted):
        source = _SOURCES.get(str(metric.get("type")))
        if source is None:
            yield "<unknown type>"
            continue
        target = (metric.get(source) or {}).get("target") or {}
        current = ((found[number].get(source) or {}).get("current") or {}) if number < len(found) else {}
        resource = source in ("resource", "containerResource")
        name = f"{(metric.get(source) or {}).get('name')}: " if resource else ""
        if target.get("averageValue") is not None:
            average = " (avg)" if source in ("object", "external") else ""
            yield f"{name}{current.get('averageValue') or _UNKNOWN}/{target['averageValue']}{average}"
        elif resource:
            used, wanted_use = current.get("averageUtilization"), target.get("averageUtilization")
            yield (f"{name}{_UNKNOWN if used is None else f'{used}%'}/"
                   f"{'<auto>' if wanted_use is None else f'{wanted_use}%'}")
        else:
            yield f"{current.get('value') or _UNKNOWN}/{target.get('value')}"


STATEFUL_SETS = Printing(columns=headings("Ready", "Containers+", "Images+"), cells=_stateful_set)
DAEMON_SETS = Printing(columns=headings("Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector",
                                        *_WORKLOAD), cells=_daemon_set)
REPLICATION_CONTROLLERS = Printing(columns=headings("Desired", "Current", "Ready", *_WORKLOAD),
                                   cells=_replication_controller)
POD_TEMPLATES = Printing(columns=(NAME, *(Column(name=n, path="") for n in ("Containers", "Images", "Pod Labels"))),
                         cells=_pod_template)
CONTROLLER_REVISIONS = Printing(columns=headings("Controller", "Revision"), cells=_controller_revision)
CRON_JOBS = Printing(columns=headings("Schedule", "Timezone", "Suspend", "Active", "Last Schedule", *_WORKLOAD),
                     cells=_cron_job)
JOB_SETS = Printing(columns=headings("TerminalState", "Restarts", "Completed", "Suspended"), cells=_job_set)
BUDGETS = Printing(columns=headings("Min Available", "Max Unavailable", "Allowed Disruptions"), cells=_budget)
AUTOSCALERS = Printing(columns=headings("Reference", "Targets", "MinPods", "MaxPods", "Replicas"), cells=_autoscaler)
