"""Tensors of the Open Inference Protocol to and from numpy. Pure; ``v2``, ``grpc_codec`` and the formats call me.

BYTES become an object array of text where all of a tensor is UTF-8, of bytes otherwise. BF16, which numpy lacks,
becomes float32 on its way in and is never on its way out.
"""

from __future__ import annotations

import base64
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

DATATYPES = (*_NUMPY, "BF16", "BYTES")
_LIMIT_DIMENSIONS = 32
_LIMIT_ELEMENTS = 1 << 40


def datatype_of(array: np.ndarray[Any, Any]) -> str:
    """The protocol's name of an array's type; text and objects are BYTES."""
    return _NAMES.get(array.dtype, "BYTES")


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> np.ndarray[Any, Any]:
    """An array from JSON data, flat or nested. Raises ``InvalidTensor``."""
    check_shape(name, shape)
    if datatype == "BYTES":
        values = _flatten(data)
        if not all(isinstance(value, str) for value in values):
            raise InvalidTensor(f'input "{name}": BYTES wants strings')
        flat = objects(values)
    else:
        flat = _numbers(name, datatype, data)
    if flat.size != prod(shape):
        raise InvalidTensor(f'input "{name}": shape {list(shape)} wants {prod(shape)} values, got {flat.size}')
    return flat.reshape(shape)


def from_bytes(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> np.ndarray[Any, Any]:
    """An array from the binary extension's bytes (little endian, row major). Raises ``InvalidTensor``."""
    check_shape(name, shape)
    count = prod(shape)
    if datatype == "BYTES":
        return objects(_elements(name, raw, count)).reshape(shape)
    if datatype == "BF16":
        if len(raw) != count * 2:
            raise InvalidTensor(f'input "{name}": BF16 of shape {list(shape)} is {count * 2} bytes, got {len(raw)}')
        wide = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    kind = np.dtype(_dtype(name, datatype)).newbyteorder("<")
    if len(raw) != count * kind.itemsize:
        raise InvalidTensor(f'input "{name}": {datatype} of shape {list(shape)} is {count * kind.itemsize} bytes, '
                            f"got {len(raw)}")
    return np.frombuffer(raw, dtype=kind).reshape(shape)


def check_shape(name: str, shape: Sequence[int]) -> None:
    """Raises ``InvalidTensor`` for what is no shape."""
    if not shape or len(shape) > _LIMIT_DIMENSIONS or any(size < 0 for size in shape):
        raise InvalidTensor(f'input "{name}": shape must be 1 to {_LIMIT_DIMENSIONS} sizes of 0 or more, '
                            f"got {list(shape[:_LIMIT_DIMENSIONS + 1])}")
    if prod(max(size, 1) for size in shape) > _LIMIT_ELEMENTS:
        raise InvalidTensor(f'input "{name}": shape {list(shape)} is too large')


def to_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """The binary extension's bytes of an array."""
    if datatype_of(array) == "BYTES":
        return b"".join(struct.pack("<I", len(value)) + value for value in elements(array))
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def to_json(array: np.ndarray[Any, Any]) -> list[Any]:
    """An array's values, flat, as JSON data."""
    flat: list[Any] = array.ravel().tolist()
    return [text_of(value) for value in flat] if datatype_of(array) == "BYTES" else flat


def elements(array: np.ndarray[Any, Any]) -> list[bytes]:
    """A BYTES array's elements, flat."""
    return [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel().tolist()]


def text_of(value: Any) -> str:
    """A BYTES element as JSON has it: text, or base64 of what is none."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def objects(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """An object array of these values; bytes become text where all of them are."""
    try:
        values = [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError:
        values = list(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _dtype(name: str, datatype: str) -> Any:
    try:
        return _NUMPY[datatype]
    except KeyError:
        if datatype == "BF16":
            raise InvalidTensor(f'input "{name}": BF16 can only be sent as binary data') from None
        raise InvalidTensor(f'input "{name}": unknown datatype "{datatype}"',
                            remedy=f"Use one of {', '.join(DATATYPES)}") from None


def _numbers(name: str, datatype: str, data: Any) -> np.ndarray[Any, Any]:
    kind = np.dtype(_dtype(name, datatype))
    try:
        found = np.array(data)
    except (ValueError, OverflowError) as problem:
        raise InvalidTensor(f'input "{name}": data is ragged: {problem}') from problem
    if found.dtype.kind in "fO" and kind.kind in "iu":
        found = _wide(name, datatype, data, found)
    if found.size and found.dtype.kind not in _KINDS[kind.kind]:
        raise InvalidTensor(f'input "{name}": data does not fit datatype {datatype}')
    if found.size and kind.kind in "iu":
        bounds = np.iinfo(kind)
        if int(found.min()) < bounds.min or int(found.max()) > bounds.max:
            raise InvalidTensor(f'input "{name}": a value lies outside {datatype}')
    with np.errstate(over="ignore"):
        return found.astype(kind)


def _wide(name: str, datatype: str, data: Any, found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whole numbers among which some are past 63 bits, which numpy takes for floats unless it is told."""
    flat = _flatten(data)
    if not all(type(value) is int for value in flat):
        return found
    try:
        return np.array(flat, dtype=_NUMPY[datatype])
    except OverflowError:
        raise InvalidTensor(f'input "{name}": a value lies outside {datatype}') from None


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


def _elements(name: str, raw: bytes, count: int) -> list[bytes]:
    values: list[bytes] = []
    at = 0
    try:
        while at < len(raw) and len(values) <= count:
            (length,) = struct.unpack_from("<I", raw, at)
            if at + 4 + length > len(raw):
                raise InvalidTensor(f'input "{name}": a BYTES element is cut short')
            values.append(bytes(raw[at + 4:at + 4 + length]))
            at += 4 + length
    except struct.error as problem:
        raise InvalidTensor(f'input "{name}": BYTES cannot be read: {problem}') from problem
    if len(values) != count:
        raise InvalidTensor(f'input "{name}": expected {count} BYTES elements')
    return values
