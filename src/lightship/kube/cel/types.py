"""Types of expressions, as far as they are known before they run, and how JSON data becomes values of them.

Pure. ``of_schema`` reads a structural schema: strings with a format are timestamps, durations or bytes in rules.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightship.kube.cel import values
from lightship.kube.cel.errors import CelError

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Type:
    """``name`` is dyn, int, uint, double, bool, string, bytes, null_type, list, map, object, ... ."""

    name: str
    item: Type | None = None
    """Of a list, a map's values, an optional."""
    schema: Schema | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.name == "list":
            return f"list({self.item or DYN})"
        if self.name == "map":
            return f"map(string, {self.item or DYN})"
        return self.name

    def fits(self, other: Type) -> bool:
        """Whether the two could be one, as far as is known."""
        loose = {"dyn", "null_type"}
        if self.name in loose or other.name in loose:
            return True
        if {self.name, other.name} <= {"map", "object"}:
            return True
        if self.name != other.name:
            return False
        return self.item is None or other.item is None or self.item.fits(other.item)


DYN, INT, UINT, DOUBLE, BOOL = Type("dyn"), Type("int"), Type("uint"), Type("double"), Type("bool")
STRING, BYTES, NULL = Type("string"), Type("bytes"), Type("null_type")
TIMESTAMP, DURATION = Type("google.protobuf.Timestamp"), Type("google.protobuf.Duration")


def list_of(item: Type) -> Type:
    return Type("list", item)


def optional(item: Type) -> Type:
    return Type("optional_type", item)


_SCALARS = {"integer": INT, "number": DOUBLE, "boolean": BOOL}
_FORMATS = {"date": TIMESTAMP, "date-time": TIMESTAMP, "duration": DURATION, "byte": BYTES}
_METADATA = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}


def of_schema(schema: Schema, root: bool = False) -> Type:
    """The type of what a schema describes; ``root`` and embedded resources have a head."""
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    if kind == "string":
        return _FORMATS.get(schema.get("format") or "", STRING)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind == "array":
        return list_of(of_schema(schema.get("items") or {}))
    if kind != "object":
        return DYN
    if root or schema.get("x-kubernetes-embedded-resource"):
        text = {"type": "string"}
        head = {"apiVersion": text, "kind": text, **(schema.get("properties") or {}), "metadata": _METADATA}
        return Type("object", schema={"type": "object", "properties": head})
    if schema.get("properties"):
        return Type("object", schema=schema)
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        return Type("map", of_schema(extra))
    return Type("object", schema=schema) if not schema.get("x-kubernetes-preserve-unknown-fields") else DYN


def lifter(type: Type) -> Callable[[Any], Any] | None:
    """What turns the JSON of a value into a value of ``type``; None where it is one already."""
    match type.name:
        case "double":
            return lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        case "google.protobuf.Timestamp":
            return lambda value: values.timestamp(value) if isinstance(value, str) else value
        case "google.protobuf.Duration":
            return lambda value: values.duration(value) if isinstance(value, str) else value
        case "bytes":
            return lambda value: _bytes(value) if isinstance(value, str) else value
    return None


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as e:
        raise CelError(f"not base64: {e}") from e


def unescaped(name: str) -> str:
    """The property that an identifier stands for: ``__dash__`` and its kin undone."""
    if "__" not in name:
        return name
    for mark, text in (("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "\0")):
        name = name.replace(mark, text)
    if name.startswith("__") and name.endswith("__") and len(name) > 4:
        name = name[2:-2]
    return name.replace("\0", "__")
