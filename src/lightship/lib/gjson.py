"""GJSON: paths into JSON, as Katib's and KServe's conditions are written. Pure.

Tuning's Trials and serving's InferenceGraphs ask me. I read what GJSON calls its path syntax: keys with ``*`` and
``?``, indexes, ``#``, queries ``#(field op value)`` and ``#(...)#``, pipes, ``@this`` and arrays of paths such as
``[@this]``. Other modifiers and objects of paths are refused by ``BadPath``.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from lightship import errors

LIMIT_PATH_CHARACTERS = 4096
LIMIT_CONDITIONS_KEPT = 512
_OPERATORS = ("==", "!=", "<=", ">=", "!%", "=", "<", ">", "%")
_CLOSING = {"(": ")", "[": "]"}


class BadPath(errors.InvalidInput):
    """A path that is no GJSON, or uses what we do not read of it."""


class Nothing:
    """What a path finds where there is nothing; JSON's null is None."""


NOTHING = Nothing()


class _Query(NamedTuple):
    """``#(path op value)``, of all elements or of the first that answers it."""

    path: tuple[_Part, ...]
    operator: str
    value: Any
    all: bool


class _Part(NamedTuple):
    """One step: ``kind`` is key, glob, count, query, this or multi; ``piped``: of the whole that came before."""

    kind: str
    value: Any = None
    piped: bool = False


def check(path: str) -> str:
    """Why ``path`` cannot be read, or nothing."""
    try:
        _parsed(path)
    except BadPath as problem:
        return problem.message
    return ""


def get(value: Any, path: str) -> Any:
    """The value at ``path``, or ``NOTHING``. Raises ``BadPath``."""
    return _walk(value, _parsed(path))


@lru_cache(maxsize=LIMIT_CONDITIONS_KEPT)
def _parsed(path: str) -> tuple[_Part, ...]:
    if len(path) > LIMIT_PATH_CHARACTERS:
        raise BadPath(f"a path may have {LIMIT_PATH_CHARACTERS} characters")
    return tuple(_parts(path))


def _parts(path: str) -> Iterator[_Part]:
    position, piped = 0, False
    while position < len(path):
        text, position, separator = _segment(path, position)
        yield _part(text, path)._replace(piped=piped)
        piped = separator == "|"


def _segment(path: str, start: int) -> tuple[str, int, str]:
    """The text up to the next separator at this level, where to go on, and the separator."""
    open_: list[str] = []
    position, quoted = start, False
    while position < len(path):
        letter = path[position]
        if letter == "\\":
            position += 2
            continue
        if letter == '"' and open_:
            quoted = not quoted
        elif not quoted and letter in _CLOSING:
            open_.append(_CLOSING[letter])
        elif not quoted and open_ and letter == open_[-1]:
            open_.pop()
        elif not open_ and letter in ".|":
            return path[start:position], position + 1, letter
        position += 1
    if open_ or quoted:
        raise BadPath(f"{path!r} is not closed: it lacks {open_[-1] if open_ else 'a quote'}")
    return path[start:position], position, ""


def _part(text: str, path: str) -> _Part:
    if text == "#":
        return _Part("count")
    if text.startswith("#("):
        return _query(text, path)
    if text.startswith("@"):
        if text != "@this":
            raise BadPath(f"{path!r} uses the modifier {text!r}; only @this is read here")
        return _Part("this")
    if text.startswith("["):
        inner = text[1:-1] if text.endswith("]") else ""
        return _Part("multi", tuple(_parsed(one) for one in _split(inner)))
    if text.startswith(("{", "!")):
        raise BadPath(f"{path!r} uses {text[0]!r}, which is not read here")
    plain = _unescaped(text)
    return _Part("glob", text) if "\\" not in text and ("*" in text or "?" in text) else _Part("key", plain)


def _split(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for place, letter in enumerate(text):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif letter == "," and not depth:
            yield text[start:place]
            start = place + 1
    if text[start:]:
        yield text[start:]


def _query(text: str, path: str) -> _Part:
    everything = text.endswith(")#")
    inner = text[2:-2] if everything else text[2:-1]
    if not text.endswith((")", ")#")):
        raise BadPath(f"{path!r} has a query that is not closed: {text!r}")
    left, operator, right = _comparison(inner)
    value: Any = None
    if operator:
        try:
            value = json.loads(right)
        except ValueError:
            value = right
    return _Part("query", _Query(_parsed(left.strip()) if left.strip() else (), operator, value, everything))


def _comparison(inner: str) -> tuple[str, str, str]:
    depth, quoted = 0, False
    for place, letter in enumerate(inner):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "([":
            depth += 1
        elif not quoted and letter in ")]":
            depth -= 1
        elif not quoted and not depth:
            for operator in _OPERATORS:
                if inner.startswith(operator, place):
                    return inner[:place], operator, inner[place + len(operator):].strip()
    return inner, "", ""


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _walk(value: Any, parts: tuple[_Part, ...]) -> Any:
    for place, part in enumerate(parts):
        if value is NOTHING:
            return NOTHING
        if part.kind == "count" and isinstance(value, list):
            rest = parts[place + 1:]
            if not rest:
                return len(value)
            if not rest[0].piped:
                gathered = [_walk(one, rest) for one in value]
                return [one for one in gathered if one is not NOTHING]
            value = len(value)
            continue
        if part.kind == "query" and part.value.all and isinstance(value, list):
            matched = [one for one in value if _answers(one, part.value)]
            rest = parts[place + 1:]
            if rest and not rest[0].piped:
                gathered = [_walk(one, rest) for one in matched]
                return [one for one in gathered if one is not NOTHING]
            value = matched
            continue
        value = _step(value, part)
    return value


def _step(value: Any, part: _Part) -> Any:
    if part.kind == "this":
        return value
    if part.kind == "multi":
        return [one for one in (_walk(value, path) for path in part.value) if one is not NOTHING]
    if part.kind == "query":
        if not isinstance(value, list):
            return NOTHING
        return next((one for one in value if _answers(one, part.value)), NOTHING)
    if isinstance(value, Mapping):
        if part.kind == "glob":
            return next((value[key] for key in value if fnmatch.fnmatchcase(key, part.value)), NOTHING)
        return value.get(part.value, NOTHING) if part.kind == "key" else NOTHING
    if isinstance(value, list) and part.kind == "key" and str(part.value).isdigit():
        index = int(part.value)
        return value[index] if index < len(value) else NOTHING
    return NOTHING


def _answers(element: Any, query: _Query) -> bool:
    value = _walk(element, query.path)
    if value is NOTHING:
        return False
    wanted, operator = query.value, query.operator
    if not operator:
        return True
    if operator in ("%", "!%"):
        like = isinstance(value, str) and fnmatch.fnmatchcase(value, str(wanted))
        return like == (operator == "%")
    if operator in ("==", "="):
        return _same(value, wanted)
    if operator == "!=":
        return not _same(value, wanted)
    return _ordered(value, wanted, operator)


def _same(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _ordered(value: Any, wanted: Any, operator: str) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (value, wanted))
    if not numbers and not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    match operator:
        case "<":
            return bool(value < wanted)
        case "<=":
            return bool(value <= wanted)
        case ">":
            return bool(value > wanted)
        case _:
            return bool(value >= wanted)
