"""scikit-learn models: a joblib or pickle file with an estimator that has ``predict``.

``formats.load`` calls me. Everything of scikit-learn, joblib and pandas is imported inside functions: an environment
that serves another format does not need them. Inputs become what upstream's sklearnserver would pass to ``predict``.
"""

from __future__ import annotations

import importlib.util
import pickle
import types
from pathlib import Path
from typing import Any

import numpy as np

from lightship.modelserver.errors import InvalidTensor, LoadFailed
from lightship.modelserver.formats import LoadOptions, Prepared, TensorSpec

_SUFFIXES = (".joblib", ".pkl", ".pickle")
_ROW_WISE_PACKAGES = frozenset({"sklearn", "xgboost", "lightgbm", "numpy", "scipy", "builtins"})


def load(options: LoadOptions) -> SklearnModel:
    """Load the one model file of the directory. Raises ``LoadFailed``."""
    path = _model_file(options.directory)
    try:
        estimator = _unpickle(path)
    except Exception as problem:
        raise LoadFailed(f'could not load "{path.name}": {type(problem).__name__}: {_one_line(problem)}',
                         remedy="Is it a joblib or pickle file, made with versions that this environment has?",
                         ) from problem
    if not callable(getattr(estimator, "predict", None)):
        raise LoadFailed(f'"{path.name}" holds a {type(estimator).__name__}, which has no predict()',
                         remedy="Save the fitted estimator itself")
    return SklearnModel(estimator, predict_proba=options.predict_proba)


def _model_file(directory: Path) -> Path:
    if not directory.is_dir():
        raise LoadFailed(f'the model directory "{directory}" does not exist', remedy="Was the storageUri downloaded?")
    everything = sorted(path for path in directory.iterdir() if path.is_file())
    files = [path for path in everything if path.suffix in _SUFFIXES]
    if not files and len(everything) == 1:
        files = everything  # a pipeline's model artifact is one file without a suffix
    if not files:
        found = ", ".join(sorted(path.name for path in directory.iterdir())[:5]) or "nothing"
        raise LoadFailed(f"no model file ({', '.join(_SUFFIXES)}) in the storageUri; it holds {found}",
                         remedy="Point storageUri at the file or at the directory that has it")
    if len(files) > 1:
        raise LoadFailed(f"{len(files)} model files in the storageUri: {', '.join(path.name for path in files[:5])}",
                         remedy="Keep one")
    return files[0]


def _unpickle(path: Path) -> Any:
    if importlib.util.find_spec("joblib") is not None:
        import joblib

        return joblib.load(path)
    with path.open("rb") as file:
        return pickle.load(file)


class SklearnModel:
    """A fitted estimator."""

    platform = "sklearn"

    def __init__(self, estimator: Any, *, predict_proba: bool = False) -> None:
        self._estimator = estimator
        self._call = estimator.predict_proba if predict_proba else estimator.predict
        self._row_wise = is_row_wise(estimator)
        self._features: int | None = getattr(estimator, "n_features_in_", None)
        names = getattr(estimator, "feature_names_in_", None)
        self._feature_names: list[str] | None = None if names is None else [str(name) for name in names]
        shape = (-1, self._features if self._features is not None else -1)
        self.inputs = (TensorSpec(name="input-0", datatype="FP64", shape=shape),)
        self.outputs = (TensorSpec(name="output-0", datatype=self._output_datatype(), shape=(-1,)),)

    def prepare_instances(self, instances: list[Any]) -> Prepared:
        first = instances[0] if instances else None
        if isinstance(first, dict):
            return Prepared(inputs=_frame(instances), rows=len(instances), key=None)
        try:
            array = np.array(instances)
        except ValueError as problem:
            raise InvalidTensor("instances are ragged: every instance must have the same shape") from problem
        if array.dtype.kind in "US":
            # A row of numbers and text would become all text; as objects each value stays what it was.
            array = np.array(instances, dtype=object)
        return self._prepared(array)

    def prepare_tensors(self, tensors: dict[str, Any]) -> Prepared:
        if len(tensors) == 1:
            return self._prepared(next(iter(tensors.values())))
        columns = {name: _column(name, tensor) for name, tensor in tensors.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise InvalidTensor("inputs must have the same number of rows: each is one column")
        names = list(columns)
        if self._feature_names is not None:
            if set(names) != set(self._feature_names):
                raise InvalidTensor(f"inputs must be the model's columns {self._feature_names}")
            names = self._feature_names
            if importlib.util.find_spec("pandas") is not None:
                import pandas

                frame = pandas.DataFrame({name: columns[name] for name in names})
                return Prepared(inputs=frame, rows=len(frame), key=None)
        return self._prepared(np.column_stack([columns[name] for name in names]))

    def predict(self, inputs: Any) -> Any:
        result = self._call(inputs)
        if hasattr(result, "toarray"):
            result = result.toarray()
        return np.asarray(result)

    def blames_input(self, problem: Exception) -> bool:
        """Whether scikit-learn's own input validation raised it: then the request is at fault."""
        trace = problem.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__") == "sklearn.utils.validation":
                return isinstance(problem, (ValueError, TypeError))
            trace = trace.tb_next
        return False

    def _prepared(self, array: np.ndarray[Any, Any]) -> Prepared:
        if array.ndim == 0 or not array.size:
            raise InvalidTensor("there must be at least one instance, with at least one value")
        if self._features is not None and array.ndim == 2 and array.shape[1] != self._features:
            raise InvalidTensor(f"an instance has {array.shape[1]} values; the model takes {self._features}")
        key = (array.shape[1:], array.dtype) if self._row_wise else None
        return Prepared(inputs=array, rows=array.shape[0], key=key)

    def _output_datatype(self) -> str:
        classes = getattr(self._estimator, "classes_", None)
        if isinstance(classes, np.ndarray):
            return {"i": "INT64", "u": "UINT64", "b": "BOOL", "f": "FP64"}.get(classes.dtype.kind, "BYTES")
        return "FP64"


def is_row_wise(estimator: Any) -> bool:
    """Whether every part of the estimator comes from a library whose predict treats rows one by one.

    A user's own class or function may look at the whole batch, so its requests are never merged.
    """
    parts: list[Any] = [estimator]
    if hasattr(estimator, "get_params"):
        parts += estimator.get_params(deep=True).values()
    seen = 0
    while parts:
        part = parts.pop()
        seen += 1
        if seen > 10_000:
            return False
        if isinstance(part, (list, tuple, set)):
            parts += part
        elif isinstance(part, dict):
            parts += part.values()
        elif isinstance(part, type | types.FunctionType | types.MethodType | types.BuiltinFunctionType):
            if _package(getattr(part, "__module__", "")) not in _ROW_WISE_PACKAGES:
                return False
        elif part is not None and _package(type(part).__module__) not in _ROW_WISE_PACKAGES:
            return False
    return True


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _column(name: str, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if tensor.ndim == 2 and tensor.shape[1] == 1:
        return tensor[:, 0]
    if tensor.ndim != 1:
        raise InvalidTensor(f'input "{name}" must be one column: shape [n] or [n, 1]')
    return tensor


def _frame(instances: list[Any]) -> Any:
    if importlib.util.find_spec("pandas") is None:
        raise InvalidTensor("instances that are objects need pandas in the model's environment",
                            remedy="Send rows as lists, or add pandas to the environment")
    import pandas

    try:
        if all(isinstance(value, list) for instance in instances for value in instance.values()):
            return pandas.concat([pandas.DataFrame(instance) for instance in instances], axis=0)
        return pandas.DataFrame.from_records(instances)
    except (ValueError, AttributeError, TypeError) as problem:
        raise InvalidTensor(f"instances do not make a table: {problem}") from problem


def _one_line(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return text if len(text) <= 300 else text[:297] + "..."
