"""Model formats: each module loads one framework's files, and imports that framework only inside its loader.

``models`` picks a module by the ``--format`` flag. A format adds a row to ``LOADERS`` and a module beside me.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightship.modelserver.errors import LoadFailed

LOADERS = {"sklearn": "lightship.modelserver.formats.sklearn"}


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output in a model's metadata; -1 in the shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Inputs as the model's predict takes them. ``key`` None: never merge them with others'."""

    inputs: Any
    rows: int
    key: Hashable | None


class Model(Protocol):
    """A loaded model. ``prepare_*`` are called on the event loop or a thread; ``predict`` on the model's thread."""

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def prepare_instances(self, instances: list[Any]) -> Prepared:
        """V1 instances. Raises ``InvalidTensor``."""
        ...

    def prepare_tensors(self, tensors: dict[str, Any]) -> Prepared:
        """V2 inputs by name, as numpy arrays. Raises ``InvalidTensor``."""
        ...

    def predict(self, inputs: Any) -> Any:
        """The model's own predict, as a numpy array whose first axis is the rows'."""
        ...

    def blames_input(self, problem: Exception) -> bool:
        """Whether what predict raised says that the input is wrong, not the model."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What a loader is told."""

    name: str
    directory: Path
    predict_proba: bool = False


Loader = Callable[[LoadOptions], Model]


def load(format: str, options: LoadOptions) -> Model:
    """Load a model from its directory. Raises ``LoadFailed`` with one line that says why."""
    module_name = LOADERS.get(format)
    if module_name is None:
        raise LoadFailed(f'format "{format}" is not known here', remedy=f"Use one of {', '.join(sorted(LOADERS))}")
    module = importlib.import_module(module_name)
    loader: Loader = module.load
    return loader(options)
