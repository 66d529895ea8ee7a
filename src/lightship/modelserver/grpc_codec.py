"""The Open Inference Protocol's gRPC messages to and from our types. Pure; ``grpc_service`` calls me.

Field numbers are those of ``inference.GRPCInferenceService``. Tensors in the typed form (``contents``) are read and
written without a loop over their values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from lightship.lib import protowire as wire
from lightship.modelserver import tensors
from lightship.modelserver.errors import InvalidTensor
from lightship.modelserver.formats import TensorSpec
from lightship.modelserver.inference import Inference, Tensor, Wanted

Array = np.ndarray[Any, Any]

# Where InferTensorContents keeps a datatype's values: the field's number, and how they are coded.
_BOOL, _INT, _INT64, _UINT, _UINT64, _FP32, _FP64, _BYTES = range(1, 9)
_CONTENTS = {"BOOL": _BOOL, "INT8": _INT, "INT16": _INT, "INT32": _INT, "INT64": _INT64, "UINT8": _UINT,
             "UINT16": _UINT, "UINT32": _UINT, "UINT64": _UINT64, "FP32": _FP32, "FP64": _FP64, "BYTES": _BYTES}
_FIXED = {_FP32: ("<f4", wire.FIXED32), _FP64: ("<f8", wire.FIXED64)}
_NUMPY = {"BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
          "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64}


def names(message: bytes) -> tuple[str, str]:
    """The first two strings of a message: a model's name and its version."""
    found = {1: "", 2: ""}
    for number, _, value in wire.fields(message):
        if number in found:
            found[number] = wire.text(value)
    return found[1], found[2]


def repository_name(message: bytes) -> str:
    """The model that a load or unload names: KServe's message has it first, Triton's after a repository's name."""
    first, second = names(message)
    return second or first


def flag(message: bytes, field: int) -> bool:
    """One boolean field."""
    return any(number == field and wire.signed(value) != 0 for number, _, value in wire.fields(message))


# ---- ModelInfer


def infer_request(message: bytes) -> tuple[str, str, Inference, bool]:
    """The model, its version, the request, and whether its tensors are raw. Raises ``InvalidTensor``, ``Broken``."""
    model = version = id = ""
    parameters: dict[str, Any] = {}
    inputs: list[dict[int, Any]] = []
    wanted: list[Wanted] = []
    raw: list[bytes] = []
    for number, _, value in wire.fields(message):
        if number == 7:
            raw.append(wire.message(value))
        elif number == 5:
            inputs.append(_input(wire.message(value)))
        elif number == 1:
            model = wire.text(value)
        elif number == 2:
            version = wire.text(value)
        elif number == 3:
            id = wire.text(value)
        elif number == 4:
            _parameter(wire.message(value), parameters)
        elif number == 6:
            wanted.append(_wanted(wire.message(value)))
    if not inputs:
        raise InvalidTensor('"inputs" is empty')
    if raw and len(raw) != len(inputs):
        raise InvalidTensor(f"there are {len(inputs)} inputs and {len(raw)} raw_input_contents")
    found: dict[str, Tensor] = {}
    for place, given in enumerate(inputs):
        tensor = _tensor(given, raw[place] if raw else None)
        if tensor.name in found:
            raise InvalidTensor(f'input "{tensor.name}" is there twice')
        found[tensor.name] = tensor
    asked = Inference(inputs=tuple(found.values()), id=id or None, parameters=parameters, wanted=wanted)
    return model, version, asked, bool(raw)


def infer_response(model: tuple[str, str], asked: Inference, outputs: Sequence[Tensor], *, raw: bool,
                   parameters: Mapping[str, Any]) -> bytes:
    """The answer of a model (name and version); ``raw`` puts the tensors' bytes beside their descriptions."""
    parts = [wire.string(1, model[0]), wire.string(2, model[1]), wire.string(3, asked.id or "")]
    parts += _parameters(4, parameters)
    # 16-bit floats have no typed form; and a message has either form for all of its tensors.
    raw = raw or any(tensor.datatype not in _CONTENTS for tensor in outputs)
    for tensor in outputs:
        described = [wire.string(1, tensor.name), wire.string(2, tensor.datatype), _packed(3, tensor.shape),
                     *_parameters(4, tensor.parameters)]
        if not raw:
            described.append(wire.field(5, contents(tensor.datatype, np.asarray(tensor.array))))
        parts.append(wire.field(5, b"".join(described)))
    if raw:
        parts += [wire.field(6, tensors.to_bytes(np.asarray(tensor.array))) for tensor in outputs]
    return b"".join(parts)


def _input(message: bytes) -> dict[int, Any]:
    found: dict[int, Any] = {1: "", 2: "", 3: [], 4: {}, 5: None}
    for number, kind, value in wire.fields(message):
        if number in (1, 2):
            found[number] = wire.text(value)
        elif number == 3:
            found[3] += (unpacked(wire.message(value)).view(np.int64).tolist() if kind == wire.BYTES
                         else [wire.signed(value)])
        elif number == 4:
            _parameter(wire.message(value), found[4])
        elif number == 5:
            found[5] = wire.message(value)
    return found


def _tensor(given: dict[int, Any], raw: bytes | None) -> Tensor:
    name, datatype, shape = given[1], given[2], given[3]
    if raw is not None:
        if given[5] is not None:
            raise InvalidTensor(f'input "{name}" has contents beside raw_input_contents')
        array = tensors.from_bytes(name, datatype, shape, raw)
    else:
        array = _typed(name, datatype, shape, given[5] or b"")
    return Tensor(name=name, datatype=datatype, shape=tuple(shape), array=array, parameters=given[4])


def _typed(name: str, datatype: str, shape: Sequence[int], message: bytes) -> Array:
    tensors.check_shape(name, shape)
    field = _CONTENTS.get(datatype)
    if field is None:
        raise InvalidTensor(f'input "{name}": datatype "{datatype}" is unknown, or is sent as raw_input_contents only')
    parts: list[Any] = []
    for number, kind, value in wire.fields(message):
        if number == field:
            parts.append((kind, value))
        else:
            raise InvalidTensor(f'input "{name}": its contents are of another datatype than {datatype}')
    if field == _BYTES:
        array = tensors.objects([wire.message(value) for _, value in parts])
    elif field in _FIXED:
        array = np.frombuffer(b"".join(wire.message(value) for _, value in parts), dtype=_FIXED[field][0])
    else:
        array = _whole_numbers(name, datatype, [unpacked(wire.message(value)) if kind == wire.BYTES
                                                else np.array([value], dtype=np.uint64) for kind, value in parts])
    if array.size != prod(shape):
        raise InvalidTensor(f'input "{name}": shape {list(shape)} wants {prod(shape)} values, got {array.size}')
    return array.reshape(shape)


def _whole_numbers(name: str, datatype: str, parts: list[Array]) -> Array:
    found = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
    kind = np.dtype(_NUMPY[datatype])
    if kind.kind == "i":
        found = found.view(np.int64)
    narrow = found.astype(kind)
    if kind.kind != "b" and not np.array_equal(narrow.astype(found.dtype), found):
        raise InvalidTensor(f'input "{name}": a value lies outside {datatype}')
    return narrow


def contents(datatype: str, array: Array) -> bytes:
    """An InferTensorContents."""
    field = _CONTENTS[datatype]
    if field == _BYTES:
        return b"".join(wire.field(_BYTES, value) for value in tensors.elements(array))
    flat = np.ascontiguousarray(array).ravel()
    if not flat.size:
        return b""
    if field in _FIXED:
        return wire.field(field, flat.astype(_FIXED[field][0], copy=False).tobytes())
    return wire.field(field, packed(flat))


# ---- metadata and the rest


def server_metadata(name: str, version: str, extensions: Iterable[str]) -> bytes:
    return wire.string(1, name) + wire.string(2, version) + b"".join(wire.field(3, one) for one in extensions)


def model_metadata(name: str, versions: Sequence[str], model: Any) -> bytes:
    parts = [wire.string(1, name), *(wire.field(2, one) for one in versions),
             wire.string(3, getattr(model, "platform", ""))]
    parts += [wire.field(4, _spec(spec)) for spec in getattr(model, "inputs", ())]
    parts += [wire.field(5, _spec(spec)) for spec in getattr(model, "outputs", ())]
    return b"".join(parts)


def index(rows: Iterable[Mapping[str, str]]) -> bytes:
    """Triton's RepositoryIndexResponse."""
    return b"".join(wire.field(1, b"".join(
        wire.string(number, row[key]) for number, key in enumerate(("name", "version", "state", "reason"), 1)))
        for row in rows)


def changed(name: str) -> bytes:
    """What a load or unload answers: the model's name, and that it was done."""
    return wire.string(1, name) + truth(True, 2)


def truth(value: bool, field: int = 1) -> bytes:
    """One boolean field."""
    return bytes((field << 3, 1)) if value else b""


def _spec(spec: TensorSpec) -> bytes:
    return wire.string(1, spec.name) + wire.string(2, spec.datatype) + _packed(3, spec.shape)


# ---- parameters


def _wanted(message: bytes) -> Wanted:
    name, parameters = "", dict[str, Any]()
    for number, _, value in wire.fields(message):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            _parameter(wire.message(value), parameters)
    return Wanted(name=name, parameters=parameters)


def _parameter(entry: bytes, into: dict[str, Any]) -> None:
    key, found = "", None
    for number, _, value in wire.fields(entry):
        if number == 1:
            key = wire.text(value)
        elif number == 2:
            for choice, _, chosen in wire.fields(wire.message(value)):
                read = _CHOICES.get(choice)
                found = read(chosen) if read is not None else found
    into[key] = found


_CHOICES: dict[int, Callable[[int | bytes], Any]] = {
    1: lambda value: wire.signed(value) != 0, 2: wire.signed, 3: wire.text, 4: wire.double,
    5: lambda value: wire.signed(value) & 0xFFFF_FFFF_FFFF_FFFF}


def _parameters(field: int, given: Mapping[str, Any]) -> list[bytes]:
    entries = []
    for key, value in given.items():
        if isinstance(value, bool):
            choice = bytes((0x08, value))
        elif isinstance(value, int):
            choice = b"\x10" + packed(np.array([value], dtype=np.int64))
        elif isinstance(value, float):
            choice = b"\x21" + struct.pack("<d", value)
        else:
            choice = wire.field(3, str(value))
        entries.append(wire.field(field, wire.field(1, key) + wire.field(2, choice)))
    return entries


# ---- packed varints, many at once


def _packed(field: int, values: Sequence[int]) -> bytes:
    return wire.field(field, packed(np.array(values, dtype=np.int64))) if values else b""


def packed(values: Array) -> bytes:
    """Whole numbers as varints, in two's complement of 64 bits where they are negative."""
    wide = values.astype(np.int64).view(np.uint64) if values.dtype.kind in "ib" else values.astype(np.uint64)
    if not wide.size or int(wide.max()) < 0x80:
        return wide.astype(np.uint8).tobytes()
    shifts = np.arange(0, 70, 7, dtype=np.uint64)
    groups = np.where(shifts < 64, wide[:, None] >> np.minimum(shifts, np.uint64(63)), np.uint64(0))
    groups[:, 9] = wide >> np.uint64(63)
    sizes = np.maximum(1, 10 - np.argmax((groups != 0)[:, ::-1], axis=1))
    sizes[wide == 0] = 1
    columns = np.arange(10)
    octets = (groups & np.uint64(0x7F)).astype(np.uint8)
    octets[columns[None, :] < (sizes - 1)[:, None]] |= 0x80
    coded: bytes = octets[columns[None, :] < sizes[:, None]].tobytes()
    return coded


def unpacked(data: bytes) -> Array:
    """Varints as unsigned numbers of 64 bits. Raises ``Broken``."""
    octets = np.frombuffer(data, dtype=np.uint8)
    if not octets.size:
        return np.empty(0, dtype=np.uint64)
    if octets[-1] >= 0x80:
        raise wire.Broken("a number does not end")
    if int(octets.max()) < 0x80:
        return octets.astype(np.uint64)
    ends = np.flatnonzero(octets < 0x80)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if int(sizes.max()) > 10:
        raise wire.Broken("a number does not end")
    values = np.zeros(len(ends), dtype=np.uint64)
    for place in range(int(sizes.max())):
        there = sizes > place
        group = (octets[starts[there] + place] & 0x7F).astype(np.uint64)
        values[there] |= group << np.uint64(7 * place)
    return values
