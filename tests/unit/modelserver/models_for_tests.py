"""Estimators of a user's own, importable so that they unpickle: slow ones, ones that raise, ones that see the batch."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

GATE = threading.Event()
STARTED = threading.Event()
CALLS: list[int] = []


class Gated:
    """Its predict waits for the gate, so that a test decides how long it takes."""

    def predict(self, rows: Any) -> Any:
        CALLS.append(len(rows))
        STARTED.set()
        assert GATE.wait(30)
        return np.asarray(rows)[:, 0]


class Raising:
    """Raises on a negative number, as a model with a bug would."""

    def predict(self, rows: Any) -> Any:
        if (np.asarray(rows) < 0).any():
            raise ArithmeticError("no negatives")
        return np.asarray(rows)[:, 0]


class BatchMean:
    """What it answers for a row depends on the rows beside it."""

    def predict(self, rows: Any) -> Any:
        array = np.asarray(rows)
        return array[:, 0] - array[:, 0].mean()


class WaitsForFile:
    """Its predict says that it began by one file and waits for another: for tests of whole processes."""

    def __init__(self, folder: Path) -> None:
        self.began, self.go = folder / "began", folder / "go"

    def predict(self, rows: Any) -> Any:
        wait(self.began, self.go)
        return np.asarray(rows)[:, 0]


class WaitsInLoad(WaitsForFile):
    """As slow to load as ``WaitsForFile`` is to predict."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        wait(self.began, self.go)


class RaisesInLoad:
    """A pickle that cannot be loaded."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise ArithmeticError("made by another version")

    def __getstate__(self) -> dict[str, Any]:
        return {"a": 1}


def wait(began: Path, go: Path) -> None:
    began.touch()
    for _ in range(3000):
        if go.exists():
            return
        time.sleep(0.01)
    raise TimeoutError("nobody let it go")
