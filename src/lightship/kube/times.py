"""Kubernetes' times: RFC 3339 in UTC, Go durations, and ages as kubectl prints them.

I am pure. Everyone who stamps or reads a time calls me; the clock itself is an argument elsewhere (``lib.clock``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from lightship import errors
from lightship.lib import clock

_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})\Z", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(h|ms|m|s|us|µs|ns)", re.ASCII)
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


rfc3339 = clock.timestamp
"""``2026-01-02T03:04:05Z``: whole seconds, as ``metav1.Time``."""

rfc3339_micro = clock.micro_timestamp
"""``2026-01-02T03:04:05.678901Z``, as ``metav1.MicroTime`` (Leases, Events)."""


def parse(text: str) -> datetime:
    """The moment, aware and in UTC. Raises ``errors.InvalidInput``."""
    match = _TIME.match(text)
    if match is None:
        raise errors.InvalidInput(f"{text!r} is not an RFC 3339 time such as 2026-01-02T03:04:05Z")
    day, clock, fraction, zone = match.groups()
    micro = (fraction or ".0")[1:7].ljust(6, "0")
    zone = "+00:00" if zone in "Zz" else zone
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{micro}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as e:
        raise errors.InvalidInput(f"{text!r} is not a time: {e}") from e


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``1h30m`` or ``500ms``. Raises ``errors.InvalidInput``."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, position = 0.0, 0
    while match := _DURATION.match(rest, position):
        total += float(match[1]) * _UNIT_SECONDS[match[2]]
        position = match.end()
    if not rest or position != len(rest):
        raise errors.InvalidInput(f"{text!r} is not a duration such as 1h30m or 500ms")
    return sign * total


def age(seconds: float) -> str:
    """A span as kubectl prints it: ``45s``, ``5m30s``, ``3h``, ``2d4h``, ``400d``, ``3y``."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"
