"""Label and field selectors: parsing Kubernetes' text and object forms, and matching.

I am pure. The API server parses what clients send; controllers match ``spec.selector``. A broken selector raises
``errors.BadRequest`` with the offending part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from lightship import errors
from lightship.kube import label_rules, label_text

Operator = label_text.Operator

LIMIT_SELECTOR_CHARACTERS = 64 * 1024
LIMIT_REMEMBERED_CHARACTERS = 512
"""Longer selectors are read anew each time: what is remembered must not fill memory."""
LIMIT_REMEMBERED_KEYS = 4096
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_TERM = re.compile(r"(?:[^\\,]|\\.?)+", re.DOTALL)
"""What lies between commas; one after a backslash is part of a value."""
_BAD_ESCAPE = re.compile(r"(?:[^\\]|\\[\\,=])*+(\\.?)", re.DOTALL)
_VALUE = re.compile(rf"(?:{_NAME})?\Z", re.ASCII)


class Requirement(NamedTuple):
    """One test of one label."""

    key: str
    operator: Operator
    values: frozenset[str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        try:
            number, bound = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return number > bound if self.operator == "gt" else number < bound


@dataclass(frozen=True)
class LabelSelector:
    """All of its requirements must match; with none, everything does."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __bool__(self) -> bool:
        return bool(self.requirements)


class FieldRequirement(NamedTuple):
    """One field compared for equality (or not)."""

    field: str
    value: str
    equal: bool


@dataclass(frozen=True)
class FieldSelector:
    """All of its comparisons must hold; with none, everything does."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, value_of: Callable[[str], str]) -> bool:
        return all((value_of(r.field) == r.value) == r.equal for r in self.requirements)

    def exact(self, field: str) -> str | None:
        """The value that ``field`` must equal, where the selector says so."""
        return next((r.value for r in self.requirements if r.field == field and r.equal), None)

    def __bool__(self) -> bool:
        return bool(self.requirements)


EVERYTHING = LabelSelector()


def parse_labels(text: str) -> LabelSelector:
    """``app=web,tier in (a,b),!canary`` and so on. Raises ``errors.BadRequest``."""
    if len(text) <= LIMIT_REMEMBERED_CHARACTERS:
        return _remembered_labels(text)
    if len(text) > LIMIT_SELECTOR_CHARACTERS:
        raise errors.BadRequest(f"a label selector may have {LIMIT_SELECTOR_CHARACTERS} characters")
    return LabelSelector(tuple(Requirement(*one) for one in label_text.requirements(text)))


@lru_cache(maxsize=4096)
def _remembered_labels(text: str) -> LabelSelector:
    return LabelSelector(tuple(Requirement(*one) for one in label_text.requirements(text)))


def from_object(selector: Mapping[str, Any]) -> LabelSelector:
    """A ``metav1.LabelSelector`` (``matchLabels``, ``matchExpressions``). Raises ``errors.InvalidInput``."""
    requirements = [_requirement(key, "in", [value]) for key, value in (selector.get("matchLabels") or {}).items()]
    operators: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for expression in selector.get("matchExpressions") or ():
        operator = operators.get(expression.get("operator", ""))
        if operator is None:
            raise errors.InvalidInput(f"{expression.get('operator')!r} is not a label selector operator")
        requirements.append(_requirement(str(expression.get("key")), operator, expression.get("values") or []))
    return LabelSelector(tuple(requirements))


def render(selector: LabelSelector) -> str:
    """The selector as text that ``parse_labels`` reads."""
    parts = []
    for key, operator, values in selector.requirements:
        match operator:
            case "exists":
                parts.append(key)
            case "!":
                parts.append(f"!{key}")
            case "gt" | "lt":
                parts.append(f"{key}{'>' if operator == 'gt' else '<'}{next(iter(values))}")
            case "in" if len(values) == 1:
                parts.append(f"{key}={next(iter(values))}")
            case _:
                parts.append(f"{key} {operator} ({','.join(sorted(values))})")
    return ",".join(parts)


def parse_fields(text: str) -> FieldSelector:
    """``metadata.name=x,status.phase!=Running``, with ``\\,`` and ``\\=`` escapes. Raises ``errors.BadRequest``."""
    if len(text) <= LIMIT_REMEMBERED_CHARACTERS:
        return _remembered_fields(text)
    if len(text) > LIMIT_SELECTOR_CHARACTERS:
        raise errors.BadRequest(f"a field selector may have {LIMIT_SELECTOR_CHARACTERS} characters")
    return _fields(text)


@lru_cache(maxsize=4096)
def _remembered_fields(text: str) -> FieldSelector:
    return _fields(text)


def _fields(text: str) -> FieldSelector:
    requirements = []
    for part in _TERM.findall(text):
        if not part.strip():
            continue
        # Possessive and anchored by what was stripped: one pass over the text, however it looks.
        match = re.fullmatch(r"([^=!\s]++)\s*+(==|!=|=)\s*+(.*)", part.strip(), re.DOTALL)
        if match is None:
            raise errors.BadRequest(f"invalid selector: '{text[:200]}'; can't understand '{part[:200]}'")
        requirements.append(FieldRequirement(match[1], _unescaped(match[3]), match[2] != "!="))
    return FieldSelector(tuple(requirements))


def _unescaped(value: str) -> str:
    """A field's value without its backslashes. Raises ``errors.BadRequest`` as upstream words it."""
    if (escape := _BAD_ESCAPE.match(value)):
        raise errors.BadRequest(f"invalid field selector: invalid escape sequence: {escape[1]}")
    if "=" in re.sub(r"\\.", "", value):
        raise errors.BadRequest(f"invalid field selector: unescaped character in value: {ord('=')}")
    return re.sub(r"\\(.)", r"\1", value)


@lru_cache(maxsize=LIMIT_REMEMBERED_KEYS)
def valid_key(key: str) -> bool:
    """Whether ``key`` is a qualified name as labels and annotations want it."""
    return not label_rules.key_fault(key)


def valid_value(value: str) -> bool:
    """Whether ``value`` may be a label's value."""
    return _VALUE.match(value) is not None


def _requirement(key: str, operator: Operator, values: Sequence[object]) -> Requirement:
    wrong = next((value for value in values if not isinstance(value, str)), None)
    if wrong is not None:
        raise errors.BadRequest(f"unable to parse requirement: {wrong!r} is not a label value")
    if operator in ("in", "notin") and not values:
        raise errors.BadRequest("unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, "
                                f"values set can't be empty (of {key[:100]!r})")
    return Requirement(*label_text.checked(key, operator, [str(value) for value in values]))
