"""What can be wrong with an expression::

    CelError                the evaluation failed: no such key, division by zero, ...
    └── BudgetExceeded      it would have cost more than it may
    CompileError            the expression cannot be read, or its types do not fit
"""

from __future__ import annotations


class CelError(Exception):
    """An evaluation failed."""


class BudgetExceeded(CelError):
    """An evaluation would have cost more than it may."""


class CompileError(Exception):
    """An expression cannot be read, or its types do not fit; ``position`` counts characters from 0."""

    def __init__(self, message: str, position: int = 0, source: str = "") -> None:
        super().__init__(message)
        self.message, self.position, self.source = message, position, source

    def __str__(self) -> str:
        before = self.source[:self.position]
        line, column = before.count("\n") + 1, self.position - (before.rfind("\n") + 1)
        text = (self.source.split("\n") or [""])[min(line, self.source.count("\n") + 1) - 1]
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {text}\n | {'.' * column}^"
