"""The state of one evaluation: its variables, and what it may still cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightship.kube.cel.errors import BudgetExceeded


class Meter:
    """The rest of a budget, shared by all frames of an evaluation."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class Frame:
    """``names`` holds variables and what loops bound."""

    __slots__ = ("meter", "names")

    def __init__(self, names: dict[str, Any], meter: Meter) -> None:
        self.names, self.meter = names, meter

    def spend(self, cost: int) -> None:
        """Raises ``BudgetExceeded``."""
        meter = self.meter
        meter.left -= cost
        if meter.left < 0:
            raise BudgetExceeded("operation cancelled: actual cost limit exceeded")


Eval = Callable[[Frame], Any]
