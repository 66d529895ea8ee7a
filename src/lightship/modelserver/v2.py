"""The Open Inference Protocol's REST bodies, JSON and the binary extension. Pure; ``predicting`` calls me."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lightship.modelserver import tensors
from lightship.modelserver.errors import InvalidTensor
from lightship.modelserver.formats import TensorSpec
from lightship.modelserver.inference import Inference, Tensor, Wanted
from lightship.modelserver.v1 import encode_whole

HEADER_LENGTH = b"inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "model_repository")


# What is left out and what is null are two things: the protocol's description allows the former only.
class _Input(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class _Output(msgspec.Struct, gc=False):
    name: str
    parameters: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Body(msgspec.Struct, gc=False):
    inputs: list[_Input]
    id: str | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    outputs: list[_Output] | msgspec.UnsetType = msgspec.UNSET


class _Index(msgspec.Struct):
    ready: bool = False


_index_decoder = msgspec.json.Decoder(_Index)
_decoder = msgspec.json.Decoder(_Body)
_NONE: Mapping[str, Any] = {}


def decode(body: bytes, header_length: bytes | None) -> Inference:
    """Read an infer request. Raises ``InvalidTensor`` with the input's name."""
    head, tail = _parts(body, header_length)
    try:
        decoded = _decoder.decode(head)
    except msgspec.ValidationError as problem:
        raise InvalidTensor(f"the request's body is not an inference request: {problem}") from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidTensor(f"the request's body is not JSON: {problem}") from problem
    if not decoded.inputs:
        raise InvalidTensor('"inputs" is empty')
    found: dict[str, Tensor] = {}
    at = 0
    for given in decoded.inputs:
        if given.name in found:
            raise InvalidTensor(f'input "{given.name}" is there twice')
        parameters = given.parameters or _NONE
        size = parameters.get("binary_data_size")
        if size is not None:
            if type(size) is not int or size < 0 or at + size > len(tail):
                raise InvalidTensor(f'input "{given.name}": binary_data_size does not fit the body')
            array = tensors.from_bytes(given.name, given.datatype, given.shape, tail[at:at + size])
            at += size
        elif given.data is msgspec.UNSET:
            raise InvalidTensor(f'input "{given.name}" has no data')
        else:
            array = tensors.from_json(given.name, given.datatype, given.shape, given.data)
        found[given.name] = Tensor(name=given.name, datatype=given.datatype, shape=tuple(given.shape), array=array,
                                   parameters=parameters)
    if at != len(tail):
        raise InvalidTensor(f"{len(tail) - at} bytes of binary data belong to no input")
    wanted = tuple(Wanted(name=one.name, parameters=one.parameters or _NONE) for one in decoded.outputs or ())
    return Inference(inputs=tuple(found.values()),
                     id=None if isinstance(decoded.id, msgspec.UnsetType) else decoded.id,
                     parameters=decoded.parameters or _NONE, wanted=wanted)


def encode(names: tuple[str, str], inference: Inference, outputs: Sequence[Tensor],
           parameters: Mapping[str, Any] = _NONE) -> tuple[bytes, int | None]:
    """The answer's body of a model (name and version), and its JSON part's length where binary data follows."""
    raw: list[bytes] = []
    shown: list[dict[str, Any]] = []
    for tensor in outputs:
        output: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
        if inference.binary(tensor.name):
            raw.append(tensors.to_bytes(tensor.array))
            output["parameters"] = {**tensor.parameters, "binary_data_size": len(raw[-1])}
        else:
            if tensor.parameters:
                output["parameters"] = tensor.parameters
            output["data"] = tensors.to_json(tensor.array)
        shown.append(output)
    body: dict[str, Any] = {"model_name": names[0], "model_version": names[1]}
    if inference.id is not None:
        body["id"] = inference.id
    if parameters:
        body["parameters"] = parameters
    body["outputs"] = shown
    head = encode_whole(body)
    return (head + b"".join(raw), len(head)) if raw else (head, None)


def decode_index(body: bytes) -> bool:
    """Whether an index request asks for the ready models only. Raises ``InvalidTensor``."""
    try:
        return _index_decoder.decode(body).ready
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidTensor(f"the request's body is not an index request: {problem}") from problem


def metadata(name: str, versions: Sequence[str], model: Any) -> dict[str, Any]:
    """The model metadata answer, of a model or of one that takes its requests whole."""
    return {"name": name, "versions": list(versions), "platform": getattr(model, "platform", ""),
            "inputs": [_spec(spec) for spec in getattr(model, "inputs", ())],
            "outputs": [_spec(spec) for spec in getattr(model, "outputs", ())]}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _parts(body: bytes, header_length: bytes | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        raise InvalidTensor("Inference-Header-Content-Length does not fit the body")
    length = int(header_length)
    return body[:length], body[length:]
