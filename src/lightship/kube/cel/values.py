"""What rules handle and JSON has no type for: durations, timestamps, optionals, quantities, addresses, URLs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import SplitResult

from lightship.kube.cel.errors import CelError
from lightship.kube.cel.syntax import Uint


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be missing."""

    value: Any = None
    present: bool = False


NONE = Optional()


@dataclass(frozen=True, slots=True)
class TypeValue:
    """What ``type(x)`` gives."""

    name: str


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """``quantity("1Gi")``."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class Url:
    """``url("https://a/b")``."""

    parts: SplitResult


@dataclass(frozen=True, slots=True, order=True)
class Semver:
    """``semver("1.2.3")``, as its sort key."""

    key: tuple[int, int, int, bool, tuple[tuple[int, int, str], ...]]


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[-+]\d\d:\d\d))?\Z", re.ASCII)
_DURATION = re.compile(r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+\Z|[-+]?0\Z", re.ASCII)
_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i))?\Z", re.ASCII)
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z", re.ASCII)


def timestamp(text: str) -> datetime:
    match = _TIME.match(text)
    if match is None:
        raise CelError(f"invalid timestamp {text[:100]!r}")
    day, time, fraction, zone = match.groups()
    try:
        if time is None:
            return datetime.fromisoformat(day).replace(tzinfo=UTC)
        return datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:6]:0<6}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError as e:
        raise CelError(f"invalid timestamp {text[:100]!r}") from e


def duration(text: str) -> timedelta:
    if _DURATION.match(text) is None:
        raise CelError(f"invalid duration {text[:100]!r}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(text))
    try:
        return timedelta(seconds=-seconds if text.startswith("-") else seconds)
    except OverflowError as e:
        raise CelError("duration out of range") from e


def duration_text(value: timedelta) -> str:
    seconds = value.total_seconds()
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds}s"


def quantity(text: str) -> Quantity:
    match = _QUANTITY.match(text)
    if match is None:
        raise CelError(f"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$': "
                       f"{text[:100]!r}")
    number, exponent, suffix = match.groups()
    try:
        amount = Decimal(number + (exponent or ""))
    except InvalidOperation as e:
        raise CelError(f"invalid quantity {text[:100]!r}") from e
    if suffix and suffix.endswith("i"):
        amount *= Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    elif suffix:
        amount = amount.scaleb(_POWERS[suffix])
    return Quantity(amount)


def semver(text: str) -> Semver:
    match = _SEMVER.match(text)
    if match is None:
        raise CelError(f"invalid semantic version {text[:100]!r}")
    major, minor, patch, pre = match.groups()
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in (pre or "").split(".") if part)
    return Semver((int(major), int(minor), int(patch), not parts, parts))


_NAMES: dict[type, str] = {
    bool: "bool", Uint: "uint", int: "int", float: "double", str: "string", bytes: "bytes", list: "list", dict: "map",
    type(None): "null_type", datetime: "google.protobuf.Timestamp", timedelta: "google.protobuf.Duration",
    Optional: "optional_type", TypeValue: "type", Quantity: "kubernetes.Quantity", Url: "kubernetes.URL",
    Semver: "kubernetes.Semver",
}


def type_name(value: Any) -> str:
    """CEL's name of a value's type."""
    return _NAMES.get(type(value)) or {"IPv4Address": "net.IP", "IPv6Address": "net.IP"}.get(
        type(value).__name__, "net.CIDR")


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: numbers of all types compare by value, everything else of different types is unequal."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, Optional) and isinstance(b, Optional):
        return a.present == b.present and equal(a.value, b.value)
    return type(a) is type(b) and bool(a == b)


def size_of(value: Any) -> int:
    """How much work it is to go through a value once."""
    if isinstance(value, str | bytes):
        return 1 + len(value) // 10
    if isinstance(value, list):
        return 1 + sum(map(size_of, value))
    if isinstance(value, dict):
        return 1 + sum(map(size_of, value.values()))
    return 1
