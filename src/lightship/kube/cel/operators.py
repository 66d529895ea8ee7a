"""What CEL's operators do with values of each type. Pure; ``compile`` looks them up by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from lightship.kube.cel import values
from lightship.kube.cel.errors import BudgetExceeded, CelError
from lightship.kube.cel.frames import Eval, Frame
from lightship.kube.cel.functions import checked, mismatch
from lightship.kube.cel.syntax import Uint
from lightship.kube.cel.types import Type


def _numbers(a: Any, b: Any) -> bool:
    return (isinstance(a, int | float) and isinstance(b, int | float)
            and not isinstance(a, bool) and not isinstance(b, bool))


def _number(value: Any, like: Any) -> Any:
    if isinstance(value, float):
        return value
    if isinstance(like, Uint):
        if not 0 <= value < 2**64:
            raise CelError("unsigned integer overflow")
        return Uint(value)
    return checked(value)


def add(a: Any, b: Any) -> Any:
    if _numbers(a, b):
        return _number(a + b, a)
    if type(a) is type(b) and isinstance(a, str | list | bytes):
        return a + b
    if isinstance(a, datetime | timedelta) and isinstance(b, datetime | timedelta) and not (
            isinstance(a, datetime) and isinstance(b, datetime)):
        return a + b  # type: ignore[operator]
    raise mismatch("_+_", a, b)


def subtract(a: Any, b: Any) -> Any:
    if _numbers(a, b):
        return _number(a - b, a)
    if isinstance(a, datetime | timedelta) and isinstance(b, datetime | timedelta):
        return a - b  # type: ignore[operator]
    raise mismatch("_-_", a, b)


def multiply(a: Any, b: Any) -> Any:
    if _numbers(a, b):
        return _number(a * b, a)
    raise mismatch("_*_", a, b)


def divide(a: Any, b: Any) -> Any:
    if not _numbers(a, b):
        raise mismatch("_/_", a, b)
    if isinstance(a, float) or isinstance(b, float):
        if b == 0:
            return float("nan") if a == 0 else float("inf") if a > 0 else float("-inf")
        return a / b
    if b == 0:
        raise CelError("division by zero")
    return _number(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1), a)


def modulo(a: Any, b: Any) -> Any:
    if not _numbers(a, b) or isinstance(a, float) or isinstance(b, float):
        raise mismatch("_%_", a, b)
    if b == 0:
        raise CelError("modulus by zero")
    return _number(abs(a) % abs(b) * (1 if a >= 0 else -1), a)


def negate(a: Any) -> Any:
    if isinstance(a, int | float) and not isinstance(a, bool):
        return _number(-a, 0) if isinstance(a, int) else -a
    raise mismatch("-_", a)


def invert(a: Any) -> bool:
    if not isinstance(a, bool):
        raise mismatch("!_", a)
    return not a


def _order(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def call(a: Any, b: Any) -> bool:
        if _numbers(a, b) or (type(a) is type(b) and isinstance(a, str | bytes | bool | datetime | timedelta)):
            return compare(a, b)
        raise mismatch(name, a, b)

    return call


def contained(a: Any, b: Any) -> bool:
    if isinstance(b, dict):
        return isinstance(a, str | int) and a in b
    if isinstance(b, list):
        return any(values.equal(a, item) for item in b)
    raise mismatch("@in", a, b)


def index(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        if not isinstance(key, str | int) or key not in value:
            raise CelError(f"no such key: {key}")
        return value[key]
    if isinstance(value, list) and isinstance(key, int | float) and not isinstance(key, bool) and key == int(key):
        if not 0 <= key < len(value):
            raise CelError(f"index out of bounds: {int(key)}")
        return value[int(key)]
    raise mismatch("_[_]", value, key)


EAGER: dict[str, Callable[..., Any]] = {
    "_+_": add, "_-_": subtract, "_*_": multiply, "_/_": divide, "_%_": modulo, "-_": negate, "!_": invert,
    "_==_": values.equal, "_!=_": lambda a, b: not values.equal(a, b), "@in": contained,
    "_<_": _order("_<_", lambda a, b: a < b), "_<=_": _order("_<=_", lambda a, b: a <= b),
    "_>_": _order("_>_", lambda a, b: a > b), "_>=_": _order("_>=_", lambda a, b: a >= b),
}


def _junction(stop: bool) -> Callable[[list[tuple[Eval, Type]]], Eval]:
    """``||`` stops at true, ``&&`` at false, on either side: an error on the other does not count then."""
    name = "_||_" if stop else "_&&_"

    def make(arguments: list[tuple[Eval, Type]]) -> Eval:
        (left, _), (right, _) = arguments

        def evaluate(frame: Frame) -> Any:
            failed: CelError | None = None
            try:
                first = left(frame)
                if first is stop:
                    return stop
                if not isinstance(first, bool):
                    failed = mismatch(name, first)
            except BudgetExceeded:
                raise
            except CelError as e:
                failed = e
            second = right(frame)
            if second is stop:
                return stop
            if failed is not None:
                raise failed
            if not isinstance(second, bool):
                raise mismatch(name, second)
            return second

        return evaluate

    return make


def _choice(arguments: list[tuple[Eval, Type]]) -> Eval:
    (condition, _), (then, _), (otherwise, _) = arguments

    def evaluate(frame: Frame) -> Any:
        chosen = condition(frame)
        if not isinstance(chosen, bool):
            raise mismatch("_?_:_", chosen)
        return then(frame) if chosen else otherwise(frame)

    return evaluate


LAZY: dict[str, Callable[[list[tuple[Eval, Type]]], Eval]] = {
    "_||_": _junction(True), "_&&_": _junction(False), "_?_:_": _choice,
}

_ADDABLE = {"int", "uint", "double", "string", "bytes", "list", "google.protobuf.Timestamp", "google.protobuf.Duration"}
_TIMES = {"google.protobuf.Timestamp", "google.protobuf.Duration"}
_NUMERIC = {"int", "uint", "double"}
_ORDERED = _NUMERIC | _TIMES | {"string", "bytes", "bool"}


def fit(name: str, kinds: list[Type]) -> bool:
    """Whether an operator has an overload for these types, as far as they are known."""
    names = {kind.name for kind in kinds} - {"dyn"}
    if name == "!_":
        return names <= {"bool"}
    if name == "-_":
        return names <= {"int", "double"}
    if name in ("_==_", "_!=_"):
        return kinds[0].fits(kinds[1]) or names <= _NUMERIC
    if name == "@in":
        return kinds[1].name in ("dyn", "list", "map", "object") and (
            kinds[1].name != "list" or kinds[1].item is None or kinds[0].fits(kinds[1].item))
    if name in ("_<_", "_<=_", "_>_", "_>=_"):
        return names <= _NUMERIC or (len(names) <= 1 and names <= _ORDERED)
    if name in ("_+_", "_-_"):
        allowed = _ADDABLE if name == "_+_" else _NUMERIC | _TIMES
        return names <= allowed and (len(names) <= 1 or names <= _TIMES)
    return len(names) <= 1 and names <= (_NUMERIC if name != "_%_" else {"int", "uint"})
