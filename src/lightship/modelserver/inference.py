"""An inference request and its result, whatever wire they came over. Pure types; ``v2``, ``grpc_codec`` and the
endpoints share me.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightship.modelserver import formats, tensors
from lightship.modelserver.errors import InvalidTensor

Tensor = formats.WholeTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An output that is asked for, and what was said of it."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """A decoded request."""

    inputs: Sequence[Tensor]
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    wanted: Sequence[Wanted] = ()

    def arrays(self) -> dict[str, Any]:
        """The inputs by name."""
        return {tensor.name: tensor.array for tensor in self.inputs}

    def binary(self, output: str) -> bool:
        """Whether an output is asked for as bytes: by itself, or, where it says nothing, by the request."""
        for one in self.wanted:
            if one.name == output and "binary_data" in one.parameters:
                return one.parameters["binary_data"] is True
        return self.parameters.get("binary_data_output") is True


def check_outputs(inference: Inference, outputs: Sequence[formats.TensorSpec]) -> None:
    """Refuse outputs that the model does not have. Raises ``InvalidTensor``."""
    if not inference.wanted:
        return
    names = [output.name for output in outputs]
    for one in inference.wanted:
        if one.name not in names:
            raise InvalidTensor(f'there is no output "{one.name}"; the model has {", ".join(names)}')


def outputs(result: Any, specs: Sequence[formats.TensorSpec], wanted: Sequence[Wanted]) -> list[Tensor]:
    """What ``predict`` returned as named tensors, those that were asked for."""
    named = result if isinstance(result, dict) else {specs[0].name: result}
    names = [one.name for one in wanted] or named
    return [tensor(name, named[name]) for name in names]


def tensor(name: str, value: Any) -> Tensor:
    array = np.asarray(value)
    return Tensor(name=name, datatype=tensors.datatype_of(array), shape=array.shape, array=array)


def whole_request(inference: Inference, *, protocol: str, headers: Mapping[str, str]) -> formats.WholeRequest:
    """The request as a model that takes it whole sees it."""
    return formats.WholeRequest(
        verb="predict", protocol=protocol, headers=headers, tensors=tuple(inference.inputs), id=inference.id,
        parameters=inference.parameters, wanted=tuple(one.name for one in inference.wanted))
