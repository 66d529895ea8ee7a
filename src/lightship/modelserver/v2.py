"""The Open Inference Protocol's bodies, JSON and the binary extension. Pure; ``service`` calls me."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lightship.modelserver import tensors
from lightship.modelserver.errors import InvalidTensor
from lightship.modelserver.formats import Model, TensorSpec

HEADER_LENGTH = b"inference-header-content-length"
_encode = msgspec.json.Encoder(enc_hook=str).encode


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = msgspec.UNSET


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Body(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


_decoder = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, kw_only=True)
class Inference:
    """A decoded infer request: tensors by name, and how the answer is wanted."""

    tensors: dict[str, Any]
    id: str | None
    wanted: tuple[str, ...]
    binary: bool


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
    found: dict[str, Any] = {}
    at = 0
    for given in decoded.inputs:
        if given.name in found:
            raise InvalidTensor(f'input "{given.name}" is there twice')
        size = given.parameters.get("binary_data_size")
        if size is not None:
            if type(size) is not int or size < 0 or at + size > len(tail):
                raise InvalidTensor(f'input "{given.name}": binary_data_size does not fit the body')
            found[given.name] = tensors.from_bytes(given.name, given.datatype, given.shape, tail[at:at + size])
            at += size
        elif given.data is msgspec.UNSET:
            raise InvalidTensor(f'input "{given.name}" has no data')
        else:
            found[given.name] = tensors.from_json(given.name, given.datatype, given.shape, given.data)
    if at != len(tail):
        raise InvalidTensor(f"{len(tail) - at} bytes of binary data belong to no input")
    binary = any(output.parameters.get("binary_data") is True for output in decoded.outputs)
    binary = binary or decoded.parameters.get("binary_data_output") is True
    return Inference(tensors=found, id=decoded.id, wanted=tuple(output.name for output in decoded.outputs),
                     binary=binary)


def check_outputs(inference: Inference, outputs: Sequence[TensorSpec]) -> None:
    """Refuse outputs that the model does not have. Raises ``InvalidTensor``."""
    names = [output.name for output in outputs]
    for name in inference.wanted:
        if name not in names:
            raise InvalidTensor(f'there is no output "{name}"; the model has {", ".join(names)}')


def encode(model_name: str, version: str, inference: Inference, result: Any,
           ) -> tuple[bytes, int | None]:
    """The answer's body, and its JSON part's length where binary data follows."""
    output: dict[str, Any] = {"name": "output-0", "shape": list(result.shape),
                              "datatype": tensors.datatype_of(result)}
    raw = b""
    if inference.binary:
        raw = tensors.to_bytes(result)
        output["parameters"] = {"binary_data_size": len(raw)}
    else:
        output["data"] = tensors.to_json(result)
    body: dict[str, Any] = {"model_name": model_name, "model_version": version}
    if inference.id is not None:
        body["id"] = inference.id
    body["outputs"] = [output]
    head = _encode(body)
    return (head + raw, len(head)) if inference.binary else (head, None)


def metadata(name: str, versions: Sequence[str], model: Model) -> dict[str, Any]:
    """The model metadata answer."""
    return {"name": name, "versions": list(versions), "platform": model.platform,
            "inputs": [_spec(spec) for spec in model.inputs], "outputs": [_spec(spec) for spec in model.outputs]}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _parts(body: bytes, header_length: bytes | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        raise InvalidTensor("Inference-Header-Content-Length does not fit the body")
    length = int(header_length)
    return body[:length], body[length:]
