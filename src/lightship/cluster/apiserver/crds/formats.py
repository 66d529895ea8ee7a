"""The ``format`` of strings in schemas: those that Kubernetes checks, each as a predicate. Pure; ``walker`` asks me."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

LIMIT_FORMAT_CHARACTERS = 100_000

_HOST = re.compile(r"(?=.{1,253}\Z)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
                   r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?\Z", re.ASCII)
_EMAIL = re.compile(r"[^@\s<>]{1,64}@[^@\s<>]{1,255}\Z")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{12}\Z",
                   re.ASCII | re.IGNORECASE)
_MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}(?:(?:\1[0-9a-f]{2}){2})?\Z|"
                  r"(?:[0-9a-f]{4}\.){2,3}[0-9a-f]{4}\Z", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)\s*(?:ns|us|µs|μs|ms|s|m|h|d|w|hours?|minutes?|seconds?|days?|"
                       r"weeks?|milliseconds?|microseconds?|nanoseconds?)"
                       r"(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h|d|w))*\Z|[-+]?0\Z", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[-+]\d\d:?\d\d)\Z", re.ASCII)
_SHORT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z", re.ASCII)
_LONG_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z",
                        re.ASCII)
_SHADE = r"(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
_RGB = re.compile(rf"rgb\(\s*(?:{_SHADE}\s*,\s*){{2}}{_SHADE}\s*\)\Z", re.ASCII)


def is_uri(text: str) -> bool:
    """An absolute URL or an absolute path, as Go's ``ParseRequestURI`` takes them."""
    if not text or any(ord(letter) <= 32 or ord(letter) == 127 for letter in text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return text.startswith("/") or (bool(parts.scheme) and bool(re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", text)))


def is_ip(text: str, version: int = 0) -> bool:
    import ipaddress

    try:
        return version in (0, ipaddress.ip_address(text).version) and "%" not in text
    except ValueError:
        return False


def is_cidr(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text and text.rpartition("/")[2].isdigit()


def is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False


def is_time(text: str) -> bool:
    if _TIME.match(text) is None:
        return False
    try:
        datetime.fromisoformat(text[:19].upper())
    except ValueError:
        return False
    return True


def _uuid(version: str = "") -> Callable[[str], bool]:
    def check(text: str) -> bool:
        match = _UUID.match(text)
        return match is not None and (not version or (match[1] == version and (
            version == "3" or match[2].lower() in "89ab")))

    return check


def _isbn(length: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        digits = re.sub(r"[\s-]", "", text)
        if length == 10:
            return re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII) is not None and sum(
                (10 - at) * (10 if digit == "X" else int(digit)) for at, digit in enumerate(digits)) % 11 == 0
        return re.fullmatch(r"\d{13}", digits, re.ASCII) is not None and sum(
            int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(digits)) % 10 == 0

    return check


def _card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if not 13 <= len(digits) <= 16:
        return False
    doubled = [int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def _fits(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.match(text) is not None


CHECKS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _fits(re.compile(r"[0-9a-fA-F]{24}\Z", re.ASCII)),
    "uri": is_uri, "email": _fits(_EMAIL), "hostname": _fits(_HOST),
    "ipv4": lambda text: is_ip(text, 4), "ipv6": lambda text: is_ip(text, 6), "cidr": is_cidr,
    "mac": _fits(_MAC), "uuid": _uuid(), "uuid3": _uuid("3"), "uuid4": _uuid("4"), "uuid5": _uuid("5"),
    "isbn": lambda text: _isbn(10)(text) or _isbn(13)(text), "isbn10": _isbn(10), "isbn13": _isbn(13),
    "creditcard": _card, "ssn": _fits(re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}\Z", re.ASCII)),
    "hexcolor": _fits(re.compile(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})\Z", re.ASCII)), "rgbcolor": _fits(_RGB),
    "byte": is_base64, "password": lambda text: True, "date": is_date, "duration": _fits(_DURATION),
    "datetime": is_time, "date-time": is_time,
    "k8s-short-name": _fits(_SHORT_NAME), "k8s-long-name": _fits(_LONG_NAME),
}
"""Format to whether a string has it; a format that is not here is not checked."""


def fits(name: str, text: str) -> bool:
    """Whether ``text`` has the format, or nobody can say."""
    check = CHECKS.get(name)
    return check is None or (len(text) <= LIMIT_FORMAT_CHARACTERS and check(text))
