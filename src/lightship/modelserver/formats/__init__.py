"""Model formats: each module loads one framework's files, and imports that framework only inside its loader.

``models`` picks a module by the ``--format`` flag. A format adds a row to ``LOADERS`` and a module beside me, whose
``load(options)`` returns an object of one of three forms, which the server tells apart by what it has:

* ``Model``: arrays in, arrays out. The server decodes V1, V2 and gRPC, merges what may share a predict, and runs
  ``predict`` in the model's own thread. Nearly every format is one. It may have ``explain`` besides (``Explaining``).
* ``Whole``: takes each request as it came, and answers it: a user's ``kserve.Model``.
* ``language.Generating``, ``Embedding``, ``Reranking``: what the OpenAI endpoints call; alone, or beside the others.

Any of them may have ``close()``, called once when the model is unloaded, in a thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightship.modelserver.errors import LoadFailed

LOADERS = {"sklearn": "lightship.modelserver.formats.sklearn"}


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output in a model's metadata; -1 in the shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Inputs as the model's ``predict`` takes them, and which others may share a predict with them.

    ``key`` None: predict them alone. Else ``inputs`` is an array, or a dict of arrays by name, whose first axis is the
    rows, and inputs of an equal key are joined along it: put into the key what has to be equal (the other sizes, the
    type). A key also says that what a predict costs is its rows' computation, and no waiting for anything: short ones
    may run on the server's loop.
    """

    inputs: Any
    rows: int
    key: Hashable | None


@runtime_checkable
class Model(Protocol):
    """A loaded model. ``prepare_*`` are called on the event loop or a thread; ``predict`` on the model's thread.

    A model may also have ``max_batch_rows``, the most rows that it takes in one predict.
    """

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def prepare_instances(self, instances: list[Any]) -> Prepared:
        """V1 instances. Raises ``InvalidTensor``."""
        ...

    def prepare_tensors(self, tensors: dict[str, Any]) -> Prepared:
        """V2 inputs by name, as numpy arrays (read-only where they came as bytes). Raises ``InvalidTensor``."""
        ...

    def predict(self, inputs: Any) -> Any:
        """The model's own predict: an array, or a dict of arrays by output name; first axis the rows."""
        ...

    def blames_input(self, problem: Exception) -> bool:
        """Whether what ``predict`` or ``explain`` raised says that the input is wrong, not the model."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A model with an explainer of its own."""

    def explain(self, inputs: Any) -> Any:
        """The answer's body for V1's ``:explain``, JSON or arrays; called on the model's thread with what ``prepare_*``
        made."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeTensor:
    """One V2 input or output with what belongs to it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRequest:
    """A request as it came. V1: ``body`` is the decoded JSON, or the bytes of any other content type. V2, REST or gRPC:
    ``tensors`` and what follows them."""

    verb: str
    """``predict`` or ``explain``."""
    protocol: str
    """``v1``, ``v2`` or ``grpc-v2``."""
    headers: Mapping[str, str]
    """Lower-case names; over gRPC its metadata."""
    body: Any = None
    tensors: tuple[WholeTensor, ...] = ()
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    """The names of the outputs that are asked for; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeAnswer:
    """V1: ``body``, to be encoded as JSON; bytes and text go as they are, what an async iterator yields is streamed.
    V2: ``tensors`` and ``parameters``. Headers go with either."""

    body: Any = None
    tensors: tuple[WholeTensor, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Whole(Protocol):
    """A model that takes requests whole."""

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    async def answer(self, request: WholeRequest) -> WholeAnswer:
        """Called on the server's loop, which it must not block; cancelled when the client leaves. Errors of the tree
        answer with their status, others with 500."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What a loader is told. ``flags``: the command line's further ``--name=value``, for the format to read."""

    name: str
    directory: Path
    predict_proba: bool = False
    flags: Mapping[str, str] = field(default_factory=dict)


Loader = Callable[[LoadOptions], Any]


def load(format: str, options: LoadOptions) -> Any:
    """Load a model from its directory. Raises ``LoadFailed`` with one line that says why."""
    module_name = LOADERS.get(format)
    if module_name is None:
        raise LoadFailed(f'format "{format}" is not known here', remedy=f"Use one of {', '.join(sorted(LOADERS))}")
    module = importlib.import_module(module_name)
    loader: Loader = module.load
    return loader(options)
