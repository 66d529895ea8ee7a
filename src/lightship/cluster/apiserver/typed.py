"""Objects of the built-in kinds as their types have them: a value of a wrong type is refused, an unknown field dropped.

Pure; ``shapes`` calls me for every object that a client writes. Structs are made from ``kubernetes_types`` when the
first object of a type comes, and ``msgspec`` walks them: no code here runs for each field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from lightship import errors
from lightship.cluster.apiserver import kubernetes_types
from lightship.cluster.apiserver.kubernetes_types import Field

_INT32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_INT64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_QUANTITY = r"^\s*[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2}|[KMGTPE]i|[numkMGTPE]?)\s*\Z"
_TIME = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})\Z"
_BASIC: dict[str, Any] = {
    "string": str, "bool": bool, "int32": _INT32, "int64": _INT64, "float": float | int, "bytes": str,
    "quantity": Annotated[str, Meta(pattern=_QUANTITY)] | int | float, "time": Annotated[str, Meta(pattern=_TIME)],
    "microtime": Annotated[str, Meta(pattern=_TIME)], "intorstring": _INT32 | str, "duration": str | int,
    "strings": list[str], "raw": Any, "fields": dict[str, Any],
}
_GO = {"string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "float": "float64", "bytes": "[]uint8",
       "duration": "string", "strings": "[]string", "fields": "map[string]interface {}"}
_FOUND = {"int": "number", "float": "number", "str": "string", "bool": "bool", "array": "array", "object": "object",
          "null": "null"}
_GOT = re.compile(r"got `(\w+)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


@cache
def struct_of(name: str) -> Any:
    """The msgspec type of the type ``name``, such as ``core.v1.PodSpec``."""
    fields = [(label, _type_of(field) | None, None) for label, field in kubernetes_types.json_fields(name).items()]
    return msgspec.defstruct(name.replace(".", "_"), [*fields, *((label, str | None, None) for label in (
        "apiVersion", "kind") if label not in kubernetes_types.json_fields(name))], omit_defaults=True)


def _type_of(field: Field) -> Any:
    inner: Any = _BASIC[field.type] if field.type in _BASIC else struct_of(field.type)
    if field.map:
        return dict.__class_getitem__((str, inner))
    return list.__class_getitem__(inner) if field.repeated else inner


def normal(data: Any, api_version: str, kind: str) -> dict[str, Any]:
    """``data`` less nulls and unknown fields. Raises ``errors.BadRequest`` that names the first value of a wrong type.
    """
    name = kubernetes_types.name_of(api_version, kind)
    try:
        found: dict[str, Any] = msgspec.to_builtins(msgspec.convert(data, struct_of(name)))
        return found
    except msgspec.ValidationError as e:
        raise _refusal(str(e), name) from e


def _refusal(text: str, name: str) -> errors.BadRequest:
    """The error as Go's decoder words it, with the exact place behind it."""
    message, _, path = text.partition(" - at `$")
    path = path.rstrip("`")
    kind = name.rpartition(".")[2]
    head = f'{kind} in version "v{name.partition(".v")[2].partition(".")[0]}" cannot be handled as a {kind}: '
    place = path.lstrip(".")
    owner, field, names = _walk(name, path)
    if field is not None and field.type == "quantity" and "Object missing" not in message and "got" not in message:
        return errors.BadRequest(head + "quantities must match the regular expression '^([+-]?[0-9.]+)"
                                        f"([eEinumkKMGTP]*[-+]?[0-9]*)$' ({place})", field=place)
    if field is not None and field.type in ("time", "microtime") and "got" not in message:
        return errors.BadRequest(f"{head}parsing time: it must be RFC 3339 such as 2026-01-02T03:04:05Z ({place})",
                                 field=place)
    if field is None or field.type in ("quantity", "time", "microtime", "intorstring"):
        return errors.BadRequest(f"{head}{place or 'the body'}: {message}", field=place)
    got = _GOT.search(message)
    found = _FOUND.get(got[1], got[1]) if got else "number out of range"
    go = _GO.get(field.type) or "v" + field.type.partition(".v")[2]
    whole = names and path.endswith(names[-1])
    go = f"map[string]{go}" if field.map and whole else f"[]{go}" if field.repeated and whole else go
    return errors.BadRequest(f"{head}json: cannot unmarshal {found} into Go struct field {owner}.{'.'.join(names)} of "
                             f"type {go} ({place})", field=place)


def _walk(name: str, path: str) -> tuple[str, Field | None, list[str]]:
    """Of a path: the Go type that the last field belongs to, that field, and the fields' names on the way."""
    owner, field, names, current = name.rpartition(".")[2], None, [], name
    for step in _STEP.finditer(path):
        if step[1] is None or not current:
            continue
        found = kubernetes_types.json_fields(current).get(step[1])
        if found is None:
            continue
        owner, field = current.rpartition(".")[2], found
        names.append(step[1])
        current = found.type if "." in found.type else ""
    return owner, field, names


def unknown(value: Any, name: str, place: str = "") -> Iterator[str]:
    """The paths of fields that the type does not have."""
    fields = kubernetes_types.json_fields(name)
    for label, inner in value.items() if isinstance(value, dict) else ():
        path = f"{place}.{label}" if place else label
        field = fields.get(label)
        if field is None:
            if label not in ("apiVersion", "kind"):
                yield path
        elif "." not in field.type:
            continue
        elif field.repeated and isinstance(inner, list):
            for number, item in enumerate(inner):
                yield from unknown(item, field.type, f"{path}[{number}]")
        elif field.map and isinstance(inner, dict):
            for key, item in inner.items():
                yield from unknown(item, field.type, f"{path}[{key}]")
        else:
            yield from unknown(inner, field.type, path)
