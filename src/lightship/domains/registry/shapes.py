"""The registry's JSON and our rows, each from the other, field by field as ``kinds`` says.

I am pure; ``routes`` calls me.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lightship import errors
from lightship.domains.registry import kinds
from lightship.domains.registry.kinds import Kind

TEXT_LIMIT_CHARACTERS = 100_000
NAME_LIMIT_CHARACTERS = 255
PROPERTIES_LIMIT = 1000
_VALUES: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "MetadataStringValue": ("string_value", str), "MetadataIntValue": ("int_value", str),
    "MetadataDoubleValue": ("double_value", (int, float)), "MetadataBoolValue": ("bool_value", bool),
    "MetadataStructValue": ("struct_value", str), "MetadataProtoValue": ("proto_value", str),
}
_INTEGER = re.compile(r"-?([1-9]\d{0,18}|0)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def created(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a new row. Raises ``errors.BadRequest`` naming the field that is unknown, missing or wrong."""
    values = _values(kind, body, dict(kind.update) | dict(kind.create))
    for name in kind.required:
        if body.get(name) in (None, ""):
            raise errors.BadRequest(f'a {kind.title} needs "{name}"')
    state = values.pop("state", None)
    return values | {"state": state or _first_state(kind)}


def changed(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a PATCH changes. Raises ``errors.BadRequest``."""
    values = _values(kind, body, kind.update)
    values.pop("type", None)  # What an artifact is does not change.
    if values.get("state", "") is None:
        del values["state"]
    return values


def shown(kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the API shows it."""
    shape: dict[str, Any] = {
        "id": str(row["id"]), "name": row["name"], "customProperties": row["custom_properties"] or {},
        kind.state_field: row["state"], "createTimeSinceEpoch": _milliseconds(row["created_at"]),
        "lastUpdateTimeSinceEpoch": _milliseconds(row["updated_at"]), **(row["fields"] or {})}
    for field, column in kinds.COLUMNS.items():
        if field not in shape and column in row and field in {**kind.update, **kind.create} and row[column] is not None:
            shape[field] = str(row[column]) if column.endswith("_id") else row[column]
    return shape


def row_id(text: str) -> int:
    """An id in a path or field. Raises ``errors.BadRequest``."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise errors.BadRequest(f'"{text[:40]}" is not an id of the registry: ids are numbers')
    return int(text)


def _values(kind: Kind, body: Mapping[str, Any], allowed: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in body.items():
        if name in kinds.READ_ONLY:
            continue
        if name not in allowed:
            raise errors.BadRequest(f'unknown field "{name}" of a {kind.title}',
                                    remedy=f"Its fields are {', '.join(sorted(allowed))}")
        checked = None if value is None else _checked(kind, name, allowed[name], value)
        column = "state" if allowed[name] == "state" else kinds.COLUMNS.get(name)
        if column is None:
            others[name] = checked
        else:
            values[column] = checked
    if others:
        values["fields"] = others
    return values


def _checked(kind: Kind, name: str, type: str, value: Any) -> Any:
    if type == "state":
        if value not in kind.states:
            raise errors.BadRequest(f'"{name}" must be one of {", ".join(kind.states)}')
        return value
    if type == kinds.ID:
        return row_id(str(value))
    if type == kinds.PROPERTIES:
        return _properties(name, value)
    fits, wanted = _CHECKS[type]
    if not fits(value):
        raise errors.BadRequest(f'"{name}" must be {wanted}')
    limit = NAME_LIMIT_CHARACTERS if name in ("name", "externalId") else TEXT_LIMIT_CHARACTERS
    if isinstance(value, str) and len(value) > limit:
        raise errors.BadRequest(f'"{name}" has more than {limit} characters')
    return value


_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    kinds.TEXT: (lambda value: isinstance(value, str), "a string"),
    kinds.TEXTS: (lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
                  "a list of strings"),
    kinds.INTEGER: (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    kinds.NUMBER: (lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number"),
}


def _properties(name: str, value: Any) -> Any:
    """Custom properties: each a value with the type that it says."""
    if not isinstance(value, dict) or len(value) > PROPERTIES_LIMIT:
        raise errors.BadRequest(f'"{name}" must be an object of at most {PROPERTIES_LIMIT} properties')
    for key, item in value.items():
        known = _VALUES.get(item.get("metadataType", "")) if isinstance(item, dict) else None
        if known is None:
            raise errors.BadRequest(f'"{name}.{key}" has no valid "metadataType"',
                                    remedy=f"Use one of {', '.join(_VALUES)}")
        field, types = known
        given = item.get(field)
        wrong = not isinstance(given, types) or (field == "double_value" and isinstance(given, bool))
        if wrong or (field == "int_value" and not _INTEGER.fullmatch(given)):
            raise errors.BadRequest(f'"{name}.{key}" needs a "{field}" of its type')
        extra = set(item) - {field, "metadataType"} - ({"type"} if field == "proto_value" else set())
        if extra:
            raise errors.BadRequest(f'unknown field "{min(extra)}" in "{name}.{key}"')
    return value


def _first_state(kind: Kind) -> str:
    return "UNKNOWN" if "UNKNOWN" in kind.states else kind.states[0]


def _milliseconds(moment: datetime) -> str:
    return str(int((moment - _EPOCH).total_seconds() * 1000))
