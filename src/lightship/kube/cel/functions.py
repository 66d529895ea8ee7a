"""What a rule can call, by name: conversions, texts, lists, sets, math, optionals. Pure; ``library`` takes my table in.

A function gets its arguments (the receiver first) already evaluated and raises ``CelError`` where it cannot work on
them. Costs beyond a call's own are charged by ``compile`` from the sizes of the arguments.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from lightship.kube.cel import values
from lightship.kube.cel.errors import CelError
from lightship.kube.cel.syntax import Uint
from lightship.kube.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, Type, list_of, optional
from lightship.kube.cel.values import NONE, Optional, Quantity, Url
from lightship.lib import regex

LIMIT_INT = 2**63
LIMIT_RESULT_CHARACTERS = 1_000_000
LIMIT_SEARCHED_CHARACTERS = 2_000
"""Of a text in which positions are looked for, which only a backtracking engine tells."""


class Function(NamedTuple):
    """A function: how many arguments (least, most), what it gives, and how."""

    least: int
    most: int
    result: Type
    call: Callable[..., Any]


def mismatch(name: str, *arguments: Any) -> CelError:
    kinds = ", ".join(values.type_name(argument) for argument in arguments)
    return CelError(f"no such overload: {name}({kinds})")


def checked(number: int) -> int:
    if not -LIMIT_INT <= number < LIMIT_INT:
        raise CelError("integer overflow")
    return number


def size(value: Any) -> int:
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    raise mismatch("size", value)


def to_int(value: Any) -> int:
    if isinstance(value, bool):
        raise mismatch("int", value)
    if isinstance(value, int):
        return checked(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CelError("integer overflow")
        return checked(int(value))
    if isinstance(value, str):
        try:
            return checked(int(value, 10))
        except ValueError as e:
            raise CelError(f"type conversion error from 'string' to 'int': {value[:100]!r}") from e
    if isinstance(value, datetime):
        return int(value.timestamp())
    raise mismatch("int", value)


def to_uint(value: Any) -> Uint:
    number = to_int(value)
    if number < 0:
        raise CelError("unsigned integer overflow")
    return Uint(number)


def to_double(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError as e:
            raise CelError(f"type conversion error from 'string' to 'double': {value[:100]!r}") from e
    raise mismatch("double", value)


def to_string(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case int():
            return str(int(value))
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError as e:
                raise CelError("invalid UTF-8 in bytes, cannot convert to string") from e
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case timedelta():
            return values.duration_text(value)
        case Url():
            return value.parts.geturl()
        case Quantity():
            return str(value.amount)
    if values.type_name(value) in ("net.IP", "net.CIDR"):
        return str(value)
    raise mismatch("string", value)


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "TRUE", "True", "t", "1", "false", "FALSE", "False", "f", "0"):
        return value in ("true", "TRUE", "True", "t", "1")
    raise mismatch("bool", value)


def text(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` over a string."""
    def call(value: Any, *rest: Any) -> Any:
        if not isinstance(value, str):
            raise mismatch(name, value, *rest)
        try:
            return function(value, *rest)
        except TypeError as e:
            raise mismatch(name, value, *rest) from e

    return call


def matches(value: str, pattern: Any) -> bool:
    return _regex(pattern).search(value)


def _regex(pattern: Any) -> regex.Regex:
    if not isinstance(pattern, str):
        raise mismatch("matches", pattern)
    try:
        return regex.compile(pattern)
    except regex.Refused as e:
        raise CelError(str(e)) from e


def _found(value: str, pattern: Any, limit: int = -1) -> list[str]:
    if len(value) > LIMIT_SEARCHED_CHARACTERS:
        raise CelError(f"find works on texts of {LIMIT_SEARCHED_CHARACTERS} characters at most")
    result = [match[0] for match in _regex(pattern).python.finditer(value)]
    return result if limit < 0 else result[:limit]


def _find(value: str, pattern: Any) -> str:
    return next(iter(_found(value, pattern, 1)), "")


def _replace(value: str, old: str, new: str, count: int = -1) -> str:
    if len(value) + value.count(old) * len(new) > LIMIT_RESULT_CHARACTERS:
        raise CelError("the result is too long")
    return value.replace(old, new, count)


def _substring(value: str, start: int, end: int | None = None) -> str:
    stop = len(value) if end is None else end
    if not 0 <= start <= stop <= len(value):
        raise CelError(f"index out of range: {start if start < 0 or start > len(value) else stop}")
    return value[start:stop]


def _char_at(value: str, index: int) -> str:
    if not 0 <= index <= len(value):
        raise CelError(f"index out of range: {index}")
    return value[index:index + 1]


def _split(value: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    parts = list(value) if not separator else value.split(separator, limit - 1 if limit > 0 else -1)
    return parts


def _join(items: Any, separator: str = "") -> str:
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise mismatch("join", items)
    return separator.join(items)


def _index_of(value: Any, wanted: Any, *start: int) -> int:
    if isinstance(value, list):
        return next((number for number, item in enumerate(value) if values.equal(item, wanted)), -1)
    if isinstance(value, str) and isinstance(wanted, str):
        return value.find(wanted, *start)
    raise mismatch("indexOf", value, wanted)


def _last_index_of(value: Any, wanted: Any, *start: int) -> int:
    if isinstance(value, list):
        return next((len(value) - 1 - number for number, item in enumerate(reversed(value))
                     if values.equal(item, wanted)), -1)
    if isinstance(value, str) and isinstance(wanted, str):
        return value.rfind(wanted, 0, start[0] + len(wanted)) if start else value.rfind(wanted)
    raise mismatch("lastIndexOf", value, wanted)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return wanted in value
    if isinstance(value, list):
        return any(values.equal(item, wanted) for item in value)
    raise mismatch("contains", value, wanted)


_VERBS: dict[str, Callable[[Any], str]] = {
    "s": to_string, "d": lambda value: str(to_int(value)), "x": lambda value: format(to_int(value), "x"),
    "X": lambda value: format(to_int(value), "X"), "o": lambda value: format(to_int(value), "o"),
    "b": lambda value: format(to_int(value), "b")}


def _format(pattern: str, arguments: Any) -> str:
    if not isinstance(arguments, list):
        raise mismatch("format", pattern, arguments)
    result, left, at = [], list(arguments), 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter != "%":
            result.append(letter)
            continue
        digits = ""
        while at < len(pattern) and pattern[at] in ".0123456789":
            digits += pattern[at]
            at += 1
        verb, at = pattern[at:at + 1], at + 1
        if verb == "%":
            result.append("%")
        elif not left:
            raise CelError(f"could not format: index {len(arguments)} out of range")
        elif verb in ("f", "e"):
            result.append(format(to_double(left.pop(0)), f".{(digits.lstrip('.') or '6')[:2]}{verb}"))
        elif verb in _VERBS:
            value = left.pop(0)
            result.append(_shown(value) if verb == "s" else _VERBS[verb](value))
        else:
            raise CelError(f"could not format: unrecognized formatting clause {verb!r}")
    return "".join(result)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(value[key])}" for key in sorted(value)) + "}"
    return value.name if isinstance(value, values.TypeValue) else to_string(value)


def over_list(name: str, function: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def call(items: Any) -> Any:
        if not isinstance(items, list):
            raise mismatch(name, items)
        try:
            return function(items)
        except TypeError as e:
            raise mismatch(name, *items[:2]) from e

    return call


def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    total = items[0]
    for item in items[1:]:
        total = total + item
    return checked(total) if isinstance(total, int) else total


def _extreme(pick: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    def call(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{pick.__name__} called on empty list")
        return pick(items)

    return call


def _distinct(items: list[Any]) -> list[Any]:
    result: list[Any] = []
    for item in items:
        if not any(values.equal(item, known) for known in result):
            result.append(item)
    return result


def _flatten(items: Any, depth: int = 1) -> list[Any]:
    if not isinstance(items, list):
        raise mismatch("flatten", items)
    result: list[Any] = []
    for item in items:
        result.extend(_flatten(item, depth - 1) if isinstance(item, list) and depth > 0 else [item])
    return result


def _slice(items: Any, start: int, end: int) -> list[Any]:
    if not isinstance(items, list) or not 0 <= start <= end <= len(items):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _reverse(value: Any) -> Any:
    if isinstance(value, str | list):
        return value[::-1]
    raise mismatch("reverse", value)


def _subset(outer: Any, inner: Any) -> bool:
    if not isinstance(outer, list) or not isinstance(inner, list):
        raise mismatch("sets.contains", outer, inner)
    return all(any(values.equal(a, b) for b in outer) for a in inner)


def _intersects(a: Any, b: Any) -> bool:
    return any(_contains(b, item) for item in a)


def _or_value(value: Any, other: Any) -> Any:
    return value.value if value.present else other


def _value(value: Any) -> Any:
    if not value.present:
        raise CelError("optional.none() dereference")
    return value.value


def _non_zero(value: Any) -> Optional:
    return NONE if value in (None, 0, "", b"", [], {}, False) else Optional(value, True)


def _of_optional(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(value: Any, *rest: Any) -> Any:
        if not isinstance(value, Optional):
            raise mismatch(name, value, *rest)
        return function(value, *rest)

    return call


def _round(value: float) -> float:
    return math.floor(abs(value) + 0.5) * (1.0 if value >= 0 else -1.0)


def _picks(pick: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        given = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else list(arguments)
        if not given or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in given):
            raise mismatch("math", *arguments)
        return pick(given)

    return call


FUNCTIONS: dict[str, Function] = {
    "size": Function(1, 1, INT, size), "int": Function(1, 1, INT, to_int), "uint": Function(1, 1, DYN, to_uint),
    "double": Function(1, 1, DOUBLE, to_double), "string": Function(1, 1, STRING, to_string),
    "bool": Function(1, 1, BOOL, to_bool), "dyn": Function(1, 1, DYN, lambda value: value),
    "bytes": Function(1, 1, BYTES, lambda value: value.encode() if isinstance(value, str) else value),
    "type": Function(1, 1, Type("type"), lambda value: values.TypeValue(values.type_name(value))),
    "timestamp": Function(1, 1, TIMESTAMP, lambda v: values.timestamp(v) if isinstance(v, str) else v),
    "duration": Function(1, 1, DURATION, lambda v: values.duration(v) if isinstance(v, str) else v),
    "startsWith": Function(2, 2, BOOL, text("startsWith", lambda value, part: value.startswith(part))),
    "endsWith": Function(2, 2, BOOL, text("endsWith", lambda value, part: value.endswith(part))),
    "contains": Function(2, 2, BOOL, _contains), "matches": Function(2, 2, BOOL, text("matches", matches)),
    "find": Function(2, 2, STRING, text("find", _find)),
    "findAll": Function(2, 3, list_of(STRING), text("findAll", _found)),
    "lowerAscii": Function(1, 1, STRING, text("lowerAscii", str.lower)),
    "upperAscii": Function(1, 1, STRING, text("upperAscii", str.upper)),
    "trim": Function(1, 1, STRING, text("trim", str.strip)),
    "replace": Function(3, 4, STRING, text("replace", _replace)),
    "substring": Function(2, 3, STRING, text("substring", _substring)),
    "charAt": Function(2, 2, STRING, text("charAt", _char_at)),
    "split": Function(2, 3, list_of(STRING), text("split", _split)), "join": Function(1, 2, STRING, _join),
    "indexOf": Function(2, 3, INT, _index_of), "lastIndexOf": Function(2, 3, INT, _last_index_of),
    "format": Function(2, 2, STRING, text("format", _format)), "sum": Function(1, 1, DYN, over_list("sum", _sum)),
    "min": Function(1, 1, DYN, over_list("min", _extreme(min))),
    "max": Function(1, 1, DYN, over_list("max", _extreme(max))),
    "isSorted": Function(1, 1, BOOL, over_list("isSorted",
        lambda items: all( a <= b for a, b in itertools.pairwise(items)))),
    "distinct": Function(1, 1, DYN, over_list("distinct", _distinct)),
    "sort": Function(1, 1, DYN, over_list("sort", sorted)), "flatten": Function(1, 2, DYN, _flatten),
    "slice": Function(3, 3, DYN, _slice), "reverse": Function(1, 1, DYN, _reverse),
    "lists.range": Function(1, 1, list_of(INT), lambda count: list(range(min(to_int(count), 10_000)))),
    "sets.contains": Function(2, 2, BOOL, _subset),
    "sets.equivalent": Function(2, 2, BOOL, lambda a, b: _subset(a, b) and _subset(b, a)),
    "sets.intersects": Function(2, 2, BOOL, _intersects),
    "optional.of": Function(1, 1, optional(DYN), lambda value: Optional(value, True)),
    "optional.none": Function(0, 0, optional(DYN), lambda: NONE),
    "optional.ofNonZeroValue": Function(1, 1, optional(DYN), _non_zero),
    "hasValue": Function(1, 1, BOOL, _of_optional("hasValue", lambda value: value.present)),
    "value": Function(1, 1, DYN, _of_optional("value", _value)),
    "orValue": Function(2, 2, DYN, _of_optional("orValue", _or_value)),
    "or": Function(2, 2, optional(DYN), _of_optional("or", lambda a, b: a if a.present else b)),
    "base64.encode": Function(1, 1, STRING, lambda value: base64.b64encode(value).decode()),
    "base64.decode": Function(1, 1, BYTES, lambda value: base64.b64decode(value)),
    "math.greatest": Function(1, 99, DYN, _picks(max)), "math.least": Function(1, 99, DYN, _picks(min)),
    "math.abs": Function(1, 1, DYN, abs), "math.ceil": Function(1, 1, DOUBLE, lambda value: float(math.ceil(value))),
    "math.floor": Function(1, 1, DOUBLE, lambda value: float(math.floor(value))),
    "math.round": Function(1, 1, DOUBLE, _round),
    "math.trunc": Function(1, 1, DOUBLE, lambda v: float(math.trunc(v))),
    "math.sign": Function(1, 1, DYN, lambda value: (value > 0) - (value < 0)),
    "math.isNaN": Function(1, 1, BOOL, math.isnan), "math.isInf": Function(1, 1, BOOL, math.isinf),
    "math.isFinite": Function(1, 1, BOOL, math.isfinite),
}
