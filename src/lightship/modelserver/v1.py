"""The V1 protocol's bodies: ``{"instances": [...]}`` in, ``{"predictions": [...]}`` out. Pure; ``service`` calls me."""

from __future__ import annotations

from typing import Any

import msgspec

from lightship.modelserver.errors import InvalidTensor

_encode = msgspec.json.Encoder(enc_hook=str).encode


class _Body(msgspec.Struct):
    instances: list[Any] | msgspec.UnsetType = msgspec.UNSET
    inputs: list[Any] | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Body)


def decode(body: bytes) -> list[Any]:
    """The instances of a predict request (or ``inputs``, which upstream takes too). Raises ``InvalidTensor``."""
    try:
        decoded = _decoder.decode(body)
    except msgspec.ValidationError as problem:
        raise InvalidTensor(f"the request's body is not a V1 request: {problem}",
                            remedy='Send {"instances": [[...], ...]}') from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidTensor(f"the request's body is not JSON: {problem}") from problem
    instances = decoded.inputs if decoded.instances is msgspec.UNSET else decoded.instances
    if isinstance(instances, msgspec.UnsetType):
        raise InvalidTensor('the request\'s body has no "instances"', remedy='Send {"instances": [[...], ...]}')
    if not instances:
        raise InvalidTensor('"instances" is empty')
    return instances


def encode(result: Any) -> bytes:
    """The answer for a predict result, a numpy array."""
    return _encode({"predictions": result.tolist()})
