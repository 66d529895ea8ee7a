"""What ``metricsCollectorSpec`` must be, in upstream's words. Pure; ``admission`` calls me."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.tuning.collectors import lines
from lightship.domains.tuning.experiment import defaults

_COLLECTOR, _SOURCE = "spec.metricsCollectorSpec.collector", "spec.metricsCollectorSpec.source"
_TWO_GROUPS = re.compile(r".*\(.*\).*\(.*\).*")
LIMIT_FORMATS = 16
LIMIT_FORMAT_CHARACTERS = 1024


def validate(spec: Mapping[str, Any]) -> Sequence[FieldError]:
    """Everything wrong with a collector after its defaults."""
    kind = (spec.get("collector") or {}).get("kind")
    source = spec.get("source") or {}
    check = _BY_KIND.get(str(kind))
    if check is None:
        return [FieldError(path=f"{_COLLECTOR}.kind", message=f"invalid metrics collector kind: {kind}")]
    found = [*check(spec, source)]
    if kind != defaults.PUSH:
        found += _formats(source)
    return found


def _nothing(spec: Mapping[str, Any], source: Mapping[str, Any]) -> Iterator[FieldError]:
    return iter(())


def _file(spec: Mapping[str, Any], source: Mapping[str, Any]) -> Iterator[FieldError]:
    place = source.get("fileSystemPath") or {}
    if place.get("kind") != "File" or not str(place.get("path") or "").startswith("/"):
        yield FieldError(path=f"{_SOURCE}.fileSystemPath.path",
                         message="file path where metrics file exists is required")
    form = place.get("format")
    if form not in ("TEXT", "JSON"):
        yield FieldError(path=f"{_SOURCE}.fileSystemPath.format",
                         message="format of metrics file is required for metrics collector")
    if form == "JSON" and source.get("filter"):
        yield FieldError(path=f"{_SOURCE}.filter",
                         message="filter must be nil when format of metrics file is json")


def _events(spec: Mapping[str, Any], source: Mapping[str, Any]) -> Iterator[FieldError]:
    place = source.get("fileSystemPath") or {}
    if place.get("kind") != "Directory" or not str(place.get("path") or "").startswith("/"):
        yield FieldError(path=_SOURCE, message=(
            "directory path where tensorflow event files exist is required by "
            ".spec.metricsCollectorSpec.source.fileSystemPath.path"))
    if place.get("format"):
        yield FieldError(path=f"{_SOURCE}.fileSystemPath.format", message="must be empty")


def _prometheus(spec: Mapping[str, Any], source: Mapping[str, Any]) -> Iterator[FieldError]:
    get = source.get("httpGet") or {}
    port = str(get.get("port"))
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        yield FieldError(path=f"{_SOURCE}.httpGet.port", message=(
            f"must be a positive integer value for metrics collector kind: {defaults.PROMETHEUS}"))
    if not str(get.get("path") or "").startswith("/"):
        yield FieldError(path=f"{_SOURCE}.httpGet.path",
                         message=f"path is invalid for metrics collector kind: {defaults.PROMETHEUS}")


def _custom(spec: Mapping[str, Any], source: Mapping[str, Any]) -> Iterator[FieldError]:
    if not (spec.get("collector") or {}).get("customCollector"):
        yield FieldError(path=f"{_COLLECTOR}.customCollector",
                         message=f"metrics collector kind: {defaults.CUSTOM} is required")
    place = source.get("fileSystemPath")
    if place and (not str(place.get("path") or "").startswith("/") or place.get("kind") not in ("Directory", "File")):
        yield FieldError(path=f"{_SOURCE}.fileSystemPath", message=".spec.metricsCollectorSpec.source is invalid")


def _formats(source: Mapping[str, Any]) -> Iterator[FieldError]:
    formats = (source.get("filter") or {}).get("metricsFormat") or ()
    path = f"{_SOURCE}.filter.metricsFormat"
    if len(formats) > LIMIT_FORMATS:
        yield FieldError(path=path, message=f"there may be {LIMIT_FORMATS} formats")
        return
    for form in formats:
        if len(form) > LIMIT_FORMAT_CHARACTERS:
            yield FieldError(path=path, message=f"a format may have {LIMIT_FORMAT_CHARACTERS} characters")
            continue
        if problem := lines.check_filter(form):
            yield FieldError(path=path, message=f"invalid filter: {problem}")
            continue
        if not _TWO_GROUPS.match(form):
            yield FieldError(path=path, message="two top subexpressions are required")


_BY_KIND = {defaults.STDOUT: _nothing, defaults.PUSH: _nothing, defaults.FILE: _file, defaults.EVENTS: _events,
            defaults.PROMETHEUS: _prometheus, defaults.CUSTOM: _custom}
