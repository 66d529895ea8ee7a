"""Tensors of the Open Inference Protocol to and from numpy. Pure; ``v2`` and the formats call me."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lightship.modelserver.errors import InvalidTensor

_NUMPY: dict[str, Any] = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}
_NAMES = {np.dtype(kind): name for name, kind in _NUMPY.items()}
_KINDS = {"b": "b", "u": "biu", "i": "biu", "f": "biuf"}
"""For each kind of dtype, the kinds of JSON numbers that it takes without a silent loss."""

DATATYPES = (*_NUMPY, "BYTES")


def datatype_of(array: np.ndarray[Any, Any]) -> str:
    """The protocol's name of an array's type; text and objects are BYTES."""
    return _NAMES.get(array.dtype, "BYTES")


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> np.ndarray[Any, Any]:
    """An array from JSON data, flat or nested. Raises ``InvalidTensor``."""
    _check_shape(name, shape)
    if datatype == "BYTES":
        values = _flatten(data)
        if not all(isinstance(value, str) for value in values):
            raise InvalidTensor(f'input "{name}": BYTES wants strings')
        flat = np.array(values, dtype=object)
    else:
        flat = _numbers(name, datatype, data)
    if flat.size != prod(shape):
        raise InvalidTensor(f'input "{name}": shape {list(shape)} wants {prod(shape)} values, got {flat.size}')
    return flat.reshape(shape)


def from_bytes(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> np.ndarray[Any, Any]:
    """An array from the binary extension's bytes (little endian, row major). Raises ``InvalidTensor``."""
    _check_shape(name, shape)
    count = prod(shape)
    if datatype == "BYTES":
        return np.array(_strings(name, raw, count), dtype=object).reshape(shape)
    kind = np.dtype(_dtype(name, datatype)).newbyteorder("<")
    if len(raw) != count * kind.itemsize:
        raise InvalidTensor(f'input "{name}": {datatype} of shape {list(shape)} is {count * kind.itemsize} bytes, '
                            f"got {len(raw)}")
    return np.frombuffer(raw, dtype=kind).reshape(shape)


def to_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """The binary extension's bytes of an array."""
    if datatype_of(array) == "BYTES":
        encoded = [str(value).encode() for value in array.ravel().tolist()]
        return b"".join(struct.pack("<I", len(value)) + value for value in encoded)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def to_json(array: np.ndarray[Any, Any]) -> list[Any]:
    """An array's values, flat, as JSON data."""
    flat = array.ravel().tolist()
    return [str(value) for value in flat] if datatype_of(array) == "BYTES" else flat


def _check_shape(name: str, shape: Sequence[int]) -> None:
    if not shape or any(size < 0 for size in shape):
        raise InvalidTensor(f'input "{name}": shape must be one or more sizes of 0 or more, got {list(shape)}')


def _dtype(name: str, datatype: str) -> Any:
    try:
        return _NUMPY[datatype]
    except KeyError:
        raise InvalidTensor(f'input "{name}": unknown datatype "{datatype}"',
                            remedy=f"Use one of {', '.join(DATATYPES)}") from None


def _numbers(name: str, datatype: str, data: Any) -> np.ndarray[Any, Any]:
    kind = np.dtype(_dtype(name, datatype))
    try:
        found = np.array(data)
    except ValueError as problem:
        raise InvalidTensor(f'input "{name}": data is ragged: {problem}') from problem
    if found.size and found.dtype.kind not in _KINDS[kind.kind]:
        raise InvalidTensor(f'input "{name}": data does not fit datatype {datatype}')
    if found.size and kind.kind in "iu":
        bounds = np.iinfo(kind)
        if int(found.min()) < bounds.min or int(found.max()) > bounds.max:
            raise InvalidTensor(f'input "{name}": a value lies outside {datatype}')
    with np.errstate(over="ignore"):
        return found.astype(kind)


def _flatten(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    flat: list[Any] = []
    stack = [iter(data)]
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter(value))
                break
            flat.append(value)
        else:
            stack.pop()
    return flat


def _strings(name: str, raw: bytes, count: int) -> list[str]:
    values: list[str] = []
    at = 0
    try:
        while at < len(raw) and len(values) <= count:
            (length,) = struct.unpack_from("<I", raw, at)
            if at + 4 + length > len(raw):
                raise InvalidTensor(f'input "{name}": a BYTES element is cut short')
            values.append(raw[at + 4:at + 4 + length].decode())
            at += 4 + length
    except (struct.error, UnicodeDecodeError) as problem:
        raise InvalidTensor(f'input "{name}": BYTES cannot be read: {problem}') from problem
    if len(values) != count:
        raise InvalidTensor(f'input "{name}": expected {count} BYTES elements')
    return values
