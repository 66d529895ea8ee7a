"""The V1 protocol's bodies: ``{"instances": [...]}`` in, ``{"predictions": [...]}`` out. Pure; ``predicting`` calls."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from lightship.modelserver import tensors
from lightship.modelserver.errors import InvalidTensor


class _Body(msgspec.Struct, gc=False):
    instances: list[Any] | msgspec.UnsetType = msgspec.UNSET
    inputs: list[Any] | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Body)
_any = msgspec.json.Decoder()


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


def decode_whole(body: bytes) -> Any:
    """Any JSON, for a model that takes its requests whole. Raises ``InvalidTensor``."""
    try:
        return _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidTensor(f"the request's body is not JSON: {problem}") from problem


def encode(result: Any) -> bytes:
    """The answer for a predict result: an array, or arrays by name, which become one object a row."""
    if isinstance(result, dict):
        columns = {name: np.asarray(array).tolist() for name, array in result.items()}
        rows = zip(*columns.values(), strict=True)
        return encode_whole({"predictions": [dict(zip(columns, row, strict=True)) for row in rows]})
    return encode_whole({"predictions": result.tolist()})


def _plain(value: Any) -> Any:
    """What JSON lacks: numpy's values, which models like to answer."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return tensors.text_of(value)


encode_whole = msgspec.json.Encoder(enc_hook=_plain).encode
