"""Estimators of a user's own, importable so that they unpickle: slow ones, ones that raise, ones that see the batch."""

from __future__ import annotations

import threading
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
