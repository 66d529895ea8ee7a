"""Reads a label selector's text as Kubernetes does, down to the words of its refusals. Pure; ``selectors`` calls me."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from lightship import errors
from lightship.kube import label_rules

_TOKEN = re.compile(r"\s*(?:([^\s=!<>(),]+)|(==|!=|[=!<>(),]))", re.ASCII)
Operator = Literal["in", "notin", "exists", "!", "gt", "lt"]

_OPERATORS: dict[str, Operator] = {"=": "in", "==": "in", "!=": "notin", "in": "in", "notin": "notin",
                                   ">": "gt", "<": "lt"}
_SYMBOLS = frozenset({"=", "==", "!=", "!", "<", ">", "(", ")", ","})
_END = ""
_NUMBER = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)


class Parsed(NamedTuple):
    """One requirement as it was written."""

    key: str
    operator: Operator
    values: frozenset[str]


def requirements(text: str) -> Iterator[Parsed]:
    """All requirements of ``text``. Raises ``errors.BadRequest``."""
    tokens = _Tokens(text)
    while (token := tokens.next) != _END:
        if token in _SYMBOLS and token != "!":
            raise _refused(f"found '{token}', expected: !, identifier, or 'end of string'")
        yield _requirement(tokens)
        end = tokens.take()
        if end not in (_END, ","):
            raise _refused(f"found '{end}', expected: ',' or 'end of string'")
        if end == "," and (tokens.next == _END or tokens.next in _SYMBOLS - {"!"}):
            raise _refused(f"found '{tokens.next}', expected: identifier after ','")


def checked(key: str, operator: Operator, values: list[str]) -> Parsed:
    """A requirement whose key and values may be such. Raises ``errors.BadRequest``."""
    if (fault := label_rules.key_fault(key)):
        raise _unparsed(f"<nil>: Invalid value: {json.dumps(key)}: {fault}")
    for at, value in enumerate(values):
        if operator in ("gt", "lt") and not _NUMBER.match(value):
            raise _unparsed(f"values[{at}]: Invalid value: {json.dumps(value)}: for 'Gt', 'Lt' operators, the value "
                            "must be an integer")
        if (fault := label_rules.value_fault(value)):
            raise _unparsed(f"values[{at}][{key}]: Invalid value: {json.dumps(value)}: {fault}")
    return Parsed(key, operator, frozenset(values))


class _Tokens:
    """The words and symbols of a text; after the last comes ``_END`` for ever."""

    def __init__(self, text: str) -> None:
        self._found = [match[1] or match[2] for match in _TOKEN.finditer(text)]
        self._found.reverse()

    @property
    def next(self) -> str:
        return self._found[-1] if self._found else _END

    def take(self) -> str:
        return self._found.pop() if self._found else _END


def _requirement(tokens: _Tokens) -> Parsed:
    absent = tokens.next == "!"
    if absent:
        tokens.take()
    key = tokens.take()
    if key == _END or key in _SYMBOLS:
        raise _unparsed(f"found '{key}', expected: identifier")
    if absent or tokens.next in (_END, ","):
        return checked(key, "!" if absent else "exists", [])
    checked(key, "exists", [])
    word = tokens.take()
    operator = _OPERATORS.get(word)
    if operator is None:
        raise _unparsed(f"found '{word}', expected: in, notin, =, ==, !=, gt, lt")
    return checked(key, operator, sorted(_values(tokens)) if word in ("in", "notin") else [_value(tokens)])


def _value(tokens: _Tokens) -> str:
    if tokens.next in (_END, ","):
        return ""
    value = tokens.take()
    if value in _SYMBOLS:
        raise _unparsed(f"found '{value}', expected: identifier")
    return value


def _values(tokens: _Tokens) -> set[str]:
    """``(a,b)``; nothing between two commas is the empty value."""
    if (opening := tokens.take()) != "(":
        raise _unparsed(f"found '{opening}' expected: '('")
    values: set[str] = set()
    wanted = True
    while True:
        token = tokens.take()
        if token == ")":
            return values | {""} if wanted else values
        if token == ",":
            if wanted:
                values.add("")
            wanted = True
        elif token == _END or token in _SYMBOLS or not wanted:
            expected = "',', ')' or identifier" if wanted else "',' or ')'"
            raise _unparsed(f"found '{token}', expected: {expected}")
        else:
            values.add(token)
            wanted = False


def _refused(why: str) -> errors.BadRequest:
    return errors.BadRequest(why[:1000])


def _unparsed(why: str) -> errors.BadRequest:
    return _refused(f"unable to parse requirement: {why}")
