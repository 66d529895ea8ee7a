"""Protobuf request bodies (``k8s\\0`` envelope), which kubectl sends for ``create KIND``, reviews and tokens.

Pure; ``bodies`` calls me. Types come from ``kubernetes_types``. Go writes the zero values of fields that are no
pointers: those are dropped, as its JSON would.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver import kubernetes_types
from lightship.cluster.apiserver.errors import UnsupportedMediaType
from lightship.cluster.apiserver.kubernetes_types import Field
from lightship.kube import times

MAGIC = b"k8s\x00"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NOTHING = object()


def decode(body: bytes) -> Any:
    """The object as JSON data. Raises ``errors.BadRequest``, ``UnsupportedMediaType`` for a type that is not known."""
    if not body.startswith(MAGIC):
        raise errors.BadRequest("the body is not a Kubernetes protobuf message")
    try:
        api_version = kind = ""
        raw = b""
        for number, value in _fields(body[len(MAGIC):]):
            if number == 1:
                meta = {n: v for n, v in _fields(_message(value))}
                api_version, kind = _text(meta.get(1, b"")), _text(meta.get(2, b""))
            elif number == 2:
                raw = _message(value)
        name = kubernetes_types.name_of(api_version, kind)
        if not name:
            raise UnsupportedMediaType(f"{kind[:100]!r} of {api_version[:100]!r} is not read as protobuf",
                                       remedy="Send JSON or YAML")
        return {"apiVersion": api_version, "kind": kind} | _decode(raw, name)
    except (IndexError, UnicodeDecodeError, struct.error, ValueError, OverflowError, RecursionError) as e:
        raise errors.BadRequest(f"the protobuf body is broken: {e}") from e


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            size, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position + size > end:
            raise ValueError("it ends inside a field")
        yield number, data[position:position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


@cache
def _by_number(name: str) -> dict[int, tuple[str, Field]]:
    return {field.number: (label, field) for label, field in kubernetes_types.types()[name].items()}


def _decode(data: bytes, name: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    known = _by_number(name)
    for number, raw in _fields(data):
        if number not in known:
            continue
        label, field = known[number]
        if field.type == "unknown":
            continue
        if field.map:
            entry = {n: v for n, v in _fields(_message(raw))}
            value = _value(entry.get(2, _NOTHING), field.type)
            result.setdefault(label, {})[_text(entry.get(1, b""))] = value
        elif field.repeated:
            result.setdefault(label, []).append(_value(raw, field.type))
        elif field.inline:
            result |= _decode(_message(raw), field.type)
        else:
            value = _value(raw, field.type)
            if value is not None and (field.pointer or value not in ("", 0, False, {})):
                result[label] = value
    return result


def _message(raw: Any) -> bytes:
    if not isinstance(raw, bytes):
        raise ValueError("a number stands where a message is expected")
    return raw


def _text(raw: Any) -> str:
    return _message(raw).decode("utf-8")


def _number(raw: Any) -> int:
    if not isinstance(raw, int):
        raise ValueError("a message stands where a number is expected")
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _value(raw: Any, type: str) -> Any:
    """One value as JSON has it. ``raw`` may be missing in a map's entry, which means the zero value."""
    missing = raw is _NOTHING
    match type:
        case "string":
            return "" if missing else _text(raw)
        case "int32" | "int64":
            return 0 if missing else _number(raw)
        case "bool":
            return False if missing else bool(_number(raw))
        case "float":
            return 0.0 if missing else struct.unpack("<d" if len(raw) == 8 else "<f", _message(raw))[0]
        case "bytes":
            return "" if missing else base64.b64encode(_message(raw)).decode()
    return _compound(b"" if missing else _message(raw), type)


def _compound(raw: bytes, type: str) -> Any:
    match type:
        case "quantity":
            return _text(dict(_fields(raw)).get(1, b""))
        case "intorstring":
            parts = dict(_fields(raw))
            return _text(parts.get(3, b"")) if parts.get(1) else _number(parts.get(2, 0))
        case "time" | "microtime":
            parts = dict(_fields(raw))
            if not parts:
                return None
            moment = _EPOCH + timedelta(seconds=_number(parts.get(1, 0)),
                                        microseconds=_number(parts.get(2, 0)) // 1000)
            return times.rfc3339(moment) if type == "time" else times.rfc3339_micro(moment)
        case "duration":
            return f"{_number(dict(_fields(raw)).get(1, 0)) / 1e9:g}s"
        case "strings":
            return [_text(value) for number, value in _fields(raw) if number == 1]
        case "raw" | "fields":
            return _embedded(dict(_fields(raw)).get(1, b""))
    return _decode(raw, type)


def _embedded(raw: Any) -> Any:
    return msgspec.json.decode(_message(raw)) if raw else None
