"""Objects as a ``Table`` (what kubectl prints) or as metadata only. Pure; reads and watches call me."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from lightship import errors
from lightship.cluster.apiserver import columns
from lightship.cluster.apiserver.registry import Printing, Served
from lightship.kube import jsonpath, objects
from lightship.kube.objects import Object
from lightship.kube.resources import Column

IncludeObject = Literal["None", "Metadata", "Object"]
_TYPES = {"string", "integer", "number", "boolean", "date"}


def include_object(text: str) -> IncludeObject:
    match text:
        case "None" | "Object" | "Metadata":
            return text
        case "":
            return "Metadata"
    raise errors.BadRequest(f"includeObject must be None, Metadata or Object, not {text[:100]!r}")


@lru_cache(maxsize=512)
def printing(columns_of: tuple[Column, ...]) -> Printing:
    """How a custom resource prints: its name, its own columns, or its age if it has none."""
    own = columns_of or (Column(name="Age", path=".metadata.creationTimestamp", type="date"),)
    finders = [(column, jsonpath.compile(column.path)) for column in own]

    def cells(obj: Object, now: datetime) -> list[Any]:
        row: list[Any] = [objects.name(obj)]
        for column, find in finders:
            found = find(obj)
            row.append(_cell(column, found, now))
        return row

    name = Column(name="Name", path=".metadata.name", description="Name must be unique within a namespace.")
    return Printing(columns=(name, *own), cells=cells)


def _cell(column: Column, found: list[Any], now: datetime) -> Any:
    if not found or found[0] is None:
        return "<unknown>" if column.type == "date" else ""
    if column.type == "date":
        return columns.since(found[0], now)
    if column.type in ("integer", "number", "boolean") and isinstance(found[0], int | float):
        return found[0]
    if len(found) > 1:
        return ",".join(str(value) for value in found)
    return str(found[0]) if not isinstance(found[0], bool) else str(found[0]).lower()


def table(served: Served, items: Iterable[Object], *, version: str, include: IncludeObject,
          now: datetime) -> dict[str, Any]:
    """A ``Table`` without list metadata."""
    how = served.printing or printing(served.resource.columns)
    definitions = [{"name": column.name, "type": column.type if column.type in _TYPES else "string",
                    "format": "name" if column.path == ".metadata.name" else "", "description": column.description,
                    "priority": column.priority} for column in how.columns]
    rows = [_row(how, obj, include, now) for obj in items]
    return {"kind": "Table", "apiVersion": f"meta.k8s.io/{version}", "metadata": {},
            "columnDefinitions": definitions, "rows": rows}


def _row(how: Printing, obj: Object, include: IncludeObject, now: datetime) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": how.cells(obj, now)}
    if include == "Object":
        row["object"] = obj
    elif include == "Metadata":
        row["object"] = partial(obj)
    return row


def partial(obj: Object) -> Object:
    """Only the metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
