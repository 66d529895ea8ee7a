"""Where a trial's metrics are to be found, by its ``metricsCollector``. Pure; ``gather`` and ``injection`` call me.

What is printed is read off the Pod's own log: no sidecar, and the command stays as it is. A file is printed by a
sidecar in the Pod, whose log is then read the same way. Prometheus' page is fetched through the API server's proxy, so
that it works from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lightship.domains.tuning import names
from lightship.domains.tuning.collectors import lines, observe
from lightship.domains.tuning.collectors.lines import LineReader
from lightship.domains.tuning.experiment import defaults
from lightship.kube import objects
from lightship.kube.objects import Object

LOGGER_CONTAINER = "metrics-logger-and-collector"
"""Upstream's name of the sidecar of what is printed or in a file, whose log SDKs ask for."""
COLLECTOR_CONTAINER = "metrics-collector"
VOLUME = "metrics-volume"
CHECKPOINTS = "suggestion-volume"


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where a Pod serves Prometheus' format."""

    port: str
    path: str
    scheme: str = ""
    """Empty for HTTP, ``https`` else."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One trial's metrics: lines of a container's log, a page, or neither where they are pushed."""

    metrics: tuple[str, ...]
    primary: str
    pod_labels: Mapping[str, str]
    container: str = ""
    reader: LineReader | None = None
    page: Page | None = None
    pushed: bool = False
    """Whether the trial may report by itself, so that its log in the records counts."""


def of(trial: Object) -> Source:
    """The source of a Trial's metrics. Raises ``errors.InvalidInput`` for a filter that cannot be used."""
    spec = objects.spec(trial)
    metrics = observe.metric_names(spec.get("objective") or {})
    common: dict[str, Any] = {"metrics": metrics, "primary": str(spec.get("primaryContainerName") or ""),
                              "pod_labels": spec.get("primaryPodLabels") or {}}
    collector, source = _collector(trial)
    filters = [str(text) for text in (source.get("filter") or {}).get("metricsFormat") or ()]
    place = source.get("fileSystemPath") or {}
    match collector.get("kind"):
        case defaults.FILE:
            reader = lines.reader(metrics, filters, json_lines=place.get("format") == "JSON")
            return Source(**common, container=LOGGER_CONTAINER, reader=reader)
        case defaults.EVENTS:
            return Source(**common, container=COLLECTOR_CONTAINER, reader=lines.reader(metrics, json_lines=True))
        case defaults.PROMETHEUS:
            return Source(**common, page=_page(source.get("httpGet") or {}))
        case defaults.CUSTOM:
            name = str((collector.get("customCollector") or {}).get("name") or "")
            return Source(**common, container=name, reader=lines.reader(metrics, filters), pushed=True)
        case defaults.PUSH | defaults.NONE:
            return Source(**common, pushed=True)
        case _:
            return Source(**common, container=common["primary"], reader=lines.reader(metrics, filters))


def folder_of(trial: Object) -> tuple[str, str]:
    """The directory that trial and sidecar share, and what is to be read: both empty where nothing is."""
    collector, source = _collector(trial)
    place = source.get("fileSystemPath") or {}
    path = str(place.get("path") or "")
    if collector.get("kind") not in (defaults.FILE, defaults.EVENTS, defaults.CUSTOM) or not path.startswith("/"):
        return "", ""
    is_file = collector.get("kind") == defaults.FILE or place.get("kind") == "File"
    return (str(PurePosixPath(path).parent) if is_file else path.rstrip("/")), path


def collector_of(trial: Object) -> Mapping[str, Any]:
    """The Trial's ``collector``: its kind, and the container of a custom one."""
    return _collector(trial)[0]


def is_primary(pod: Object, labels: Mapping[str, str]) -> bool:
    """Whether a trial's Pod is one that measures; without labels to tell, each of them does."""
    own = objects.labels(pod)
    return all(own.get(name) == value for name, value in labels.items())


def trial_of(pod: Object) -> objects.Key | None:
    """The Trial that a Pod belongs to."""
    name = objects.labels(pod).get(names.TRIAL_LABEL)
    return objects.Key(objects.namespace(pod), name) if name else None


def state(pod: Object, container: str) -> Mapping[str, Any]:
    """The container's current state: ``running``, ``terminated`` or ``waiting``."""
    status = objects.status(pod)
    both: Iterable[Mapping[str, Any]] = (*(status.get("containerStatuses") or ()),
                                         *(status.get("initContainerStatuses") or ()))
    found = next((one for one in both if one.get("name") == container), {})
    return found.get("state") or {}


def has_begun(pod: Object, container: str) -> bool:
    """Whether the container has a log."""
    return bool({"running", "terminated"} & state(pod, container).keys())


def has_ended(pod: Object, container: str) -> bool:
    """Whether nothing more will come from the container: it or its Pod has ended."""
    over = objects.status(pod).get("phase") in ("Succeeded", "Failed")
    return over or ("terminated" in state(pod, container) and objects.spec(pod).get("restartPolicy") == "Never")


def succeeded(pod: Object, container: str) -> bool:
    """Whether the trial's own container ended well."""
    if objects.status(pod).get("phase") == "Succeeded":
        return True
    return (state(pod, container).get("terminated") or {}).get("exitCode") == 0


def _collector(trial: Object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    given = objects.spec(trial).get("metricsCollector") or {}
    return given.get("collector") or {}, given.get("source") or {}


def _page(get: Mapping[str, Any]) -> Page:
    path = str(get.get("path") or defaults.PROMETHEUS_PATH)
    return Page(port=str(get.get("port") or defaults.PROMETHEUS_PORT),
                path=path if path.startswith("/") else f"/{path}",
                scheme="https" if str(get.get("scheme") or "").upper() == "HTTPS" else "")
