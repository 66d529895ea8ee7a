"""Kubernetes' resource quantities: ``500m``, ``1Gi``, ``2``.

I am pure. The scheduler, quotas and the node call me.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any

from lightship import errors

_QUANTITY = re.compile(r"([+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40}))"
                       r"(?:([eE][+-]?\d{1,2})|([KMGTPE]i|[numkMGTPE]?))\Z", re.ASCII)
_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse(value: str | int | float) -> Decimal:
    """The number a quantity stands for: cores, bytes or pieces. Raises ``errors.InvalidInput``."""
    match = _QUANTITY.match(str(value).strip())
    if match is None:
        raise errors.InvalidInput(f"{value!r} is not a quantity such as 500m, 2 or 1Gi")
    number, exponent, suffix = match.groups()
    return Decimal(number + (exponent or "")) * _SUFFIX[suffix or ""]


def milli(value: str | int | float) -> int:
    """Thousandths, rounded up: CPU in millicores."""
    return math.ceil(parse(value) * 1000)


def whole(value: str | int | float) -> int:
    """Whole units, rounded up: bytes or pieces."""
    return math.ceil(parse(value))


@lru_cache(maxsize=4096)
def shown(text: str) -> str:
    """A resource's amount as Kubernetes writes it back: ``1024Mi`` is ``1Gi``, and less than a thousandth is one.

    Text that is no quantity, one with an exponent, and an odd whole number (``+5``, ``010``) stay as they are.
    """
    match = _QUANTITY.match(text)
    if match is None or match[2] or (not match[3] and _ODD.match(text)):
        return text
    thousandths = (parse(text) * 1000).to_integral_value(ROUND_CEILING)
    return canonical(thousandths / 1000, binary=match[3].endswith("i"))


def shown_all(amounts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A list of resources with each amount as Kubernetes writes it back; numbers become text."""
    if not amounts:
        return None if amounts is None else dict(amounts)
    return {name: shown(value) if isinstance(value, str) else shown(str(value)) if type(value) in (int, float)
            else value for name, value in amounts.items()}


_ODD = re.compile(r"[+-]\d+\Z|0\d+\Z", re.ASCII)
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = (("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9))


def canonical(value: Decimal, *, binary: bool = False) -> str:
    """The shortest exact way to write ``value``, as Kubernetes does; ``binary`` prefers ``Ki``, ``Mi`` and so on.

    Past the nano it is rounded up.
    """
    if value == 0:
        return "0"
    if binary and value == value.to_integral_value() and abs(value) >= 1024:
        number, step = int(value), 0
        while number % 1024 == 0 and step < len(_BINARY) - 1:
            number, step = number // 1024, step + 1
        return f"{number}{_BINARY[step]}"
    for suffix, exponent in _DECIMAL:
        scaled = value.scaleb(-exponent)
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return f"{math.ceil(value.scaleb(9))}n"
