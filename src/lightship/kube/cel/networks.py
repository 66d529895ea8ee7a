"""Libraries over URLs, addresses, quantities, versions and times. Pure; ``library`` takes my table in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lightship.kube.cel import values
from lightship.kube.cel.errors import CelError
from lightship.kube.cel.functions import LIMIT_INT, Function, checked, mismatch, text
from lightship.kube.cel.types import BOOL, DOUBLE, DYN, INT, STRING, Type, list_of
from lightship.kube.cel.values import Quantity, Url


def _url(value: str) -> Url:
    if not _is_url(value):
        raise CelError(f"URL parse error during conversion from string: {value[:200]!r} is no absolute URL or path")
    return Url(urlsplit(value))


def _is_url(value: Any) -> bool:
    if not isinstance(value, str):
        raise mismatch("isURL", value)
    if not value or any(ord(letter) < 32 or letter == " " or ord(letter) == 127 for letter in value):
        return False
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return value.startswith("/") or (bool(parts.scheme) and value.lower().startswith(parts.scheme + ":"))


def _of_url(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        if not isinstance(value, Url):
            raise mismatch("URL accessor", value)
        return read(value.parts)

    return call


def _host(parts: Any) -> str:
    return str(parts.netloc.rpartition("@")[2])


def _hostname(parts: Any) -> str:
    return str(parts.hostname or "")


def _ip(value: Any) -> Any:
    import ipaddress

    if not isinstance(value, str):
        raise mismatch("ip", value)
    try:
        found = ipaddress.ip_address(value)
    except ValueError as e:
        raise CelError(f"IP Address {value[:100]!r} parse error during conversion from string: {e}") from e
    if "%" in value or getattr(found, "ipv4_mapped", None):
        raise CelError(f"IP Address {value[:100]!r} with zone value or IPv4-mapped is not allowed")
    return found


def _cidr(value: Any) -> Any:
    import ipaddress

    if not isinstance(value, str):
        raise mismatch("cidr", value)
    try:
        if "/" not in value or not value.rpartition("/")[2].isdigit():
            raise ValueError("no prefix length")
        return ipaddress.ip_interface(value)
    except ValueError as e:
        raise CelError(f"network address parse error during conversion from string: {e}") from e


def _is(read: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def call(value: Any) -> bool:
        try:
            read(value)
        except CelError:
            return False
        return True

    return call


def _cidr_contains(outer: Any, inner: Any) -> bool:
    other = inner if not isinstance(inner, str) else (_cidr(inner) if "/" in inner else _ip(inner))
    network = getattr(other, "network", None)
    if network is not None:
        return bool(network.version == outer.network.version and network.subnet_of(outer.network))
    return other in outer.network


def _quantity(value: Any) -> Quantity:
    if not isinstance(value, str):
        raise mismatch("quantity", value)
    return values.quantity(value)


def _semver(value: Any) -> values.Semver:
    if not isinstance(value, str):
        raise mismatch("semver", value)
    return values.semver(value)


def _amount(value: Any) -> Decimal:
    if isinstance(value, Quantity):
        return value.amount
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    raise mismatch("quantity operation", value)


def _as_integer(value: Any) -> int:
    amount = _amount(value)
    if amount != amount.to_integral_value():
        raise CelError("cannot convert value to integer")
    return checked(int(amount))


def _is_integer(value: Any) -> bool:
    amount = _amount(value)
    return amount == amount.to_integral_value() and -LIMIT_INT <= amount < LIMIT_INT


def _compare(a: Any, b: Any) -> int:
    if isinstance(a, values.Semver) and isinstance(b, values.Semver):
        return (a > b) - (a < b)
    return (_amount(a) > _amount(b)) - (_amount(a) < _amount(b))


def _orders(pick: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    return lambda a, b: pick(_compare(a, b))


def _time_part(read: Callable[[datetime], int]) -> Callable[..., int]:
    def call(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, timedelta):
            raise mismatch("time accessor", value)
        if not isinstance(value, datetime):
            raise mismatch("time accessor", value)
        from zoneinfo import ZoneInfo

        try:
            return read(value.astimezone(ZoneInfo(zone)))
        except (KeyError, ValueError, OSError) as e:
            raise CelError(f"unknown time zone {zone[:100]!r}") from e

    return call


def _clock_part(unit: float, read: Callable[[datetime], int]) -> Callable[..., int]:
    of_time = _time_part(read)
    return lambda value, *zone: (int(value.total_seconds() / unit) if isinstance(value, timedelta)
                                 else of_time(value, *zone))


FUNCTIONS: dict[str, Function] = {
    "url": Function(1, 1, Type("kubernetes.URL"), text("url", _url)), "isURL": Function(1, 1, BOOL, _is_url),
    "getScheme": Function(1, 1, STRING, _of_url(lambda parts: parts.scheme)),
    "getHost": Function(1, 1, STRING, _of_url(_host)), "getHostname": Function(1, 1, STRING, _of_url(_hostname)),
    "getPort": Function(1, 1, STRING, _of_url(lambda parts: str(parts.port or ""))),
    "getEscapedPath": Function(1, 1, STRING, _of_url(lambda parts: parts.path)),
    "getQuery": Function(1, 1, Type("map", list_of(STRING)), _of_url(
        lambda parts: parse_qs(parts.query, keep_blank_values=True))),
    "ip": Function(1, 1, DYN, lambda value: value.ip if hasattr(value, "network") else _ip(value)),
    "isIP": Function(1, 1, BOOL, _is(_ip)), "cidr": Function(1, 1, DYN, _cidr),
    "isCIDR": Function(1, 1, BOOL, _is(_cidr)), "family": Function(1, 1, INT, lambda value: value.version),
    "isUnspecified": Function(1, 1, BOOL, lambda value: value.is_unspecified),
    "isLoopback": Function(1, 1, BOOL, lambda value: value.is_loopback),
    "isLinkLocalUnicast": Function(1, 1, BOOL, lambda value: value.is_link_local),
    "isLinkLocalMulticast": Function(1, 1, BOOL, lambda value: value.is_multicast),
    "isGlobalUnicast": Function(1, 1, BOOL,
        lambda value: not ( value.is_multicast or value.is_unspecified or value.is_loopback or value.is_link_local)),
    "ip.isCanonical": Function(1, 1, BOOL, lambda value: str(_ip(value)) == value),
    "containsIP": Function(2, 2, BOOL, _cidr_contains), "containsCIDR": Function(2, 2, BOOL, _cidr_contains),
    "prefixLength": Function(1, 1, INT, lambda value: value.network.prefixlen),
    "masked": Function(1, 1, DYN, lambda value: _cidr(str(value.network))),
    "quantity": Function(1, 1, DYN, _quantity), "isQuantity": Function(1, 1, BOOL, _is(_quantity)),
    "semver": Function(1, 1, DYN, _semver), "isSemver": Function(1, 1, BOOL, _is(_semver)),
    "major": Function(1, 1, INT, lambda value: value.key[0]),
    "minor": Function(1, 1, INT, lambda value: value.key[1]),
    "patch": Function(1, 1, INT, lambda value: value.key[2]),
    "sign": Function(1, 1, INT, lambda value: (_amount(value) > 0) - (_amount(value) < 0)),
    "add": Function(2, 2, DYN, lambda a, b: Quantity(_amount(a) + _amount(b))),
    "sub": Function(2, 2, DYN, lambda a, b: Quantity(_amount(a) - _amount(b))),
    "isInteger": Function(1, 1, BOOL, _is_integer), "asInteger": Function(1, 1, INT, _as_integer),
    "asApproximateFloat": Function(1, 1, DOUBLE, lambda value: float(_amount(value))),
    "compareTo": Function(2, 2, INT, _compare), "isGreaterThan": Function(2, 2, BOOL, _orders(lambda c: c > 0)),
    "isLessThan": Function(2, 2, BOOL, _orders(lambda c: c < 0)),
    "getFullYear": Function(1, 2, INT, _time_part(lambda t: t.year)),
    "getMonth": Function(1, 2, INT, _time_part(lambda t: t.month - 1)),
    "getDate": Function(1, 2, INT, _time_part(lambda t: t.day)),
    "getDayOfMonth": Function(1, 2, INT, _time_part(lambda t: t.day - 1)),
    "getDayOfWeek": Function(1, 2, INT, _time_part(lambda t: t.isoweekday() % 7)),
    "getDayOfYear": Function(1, 2, INT, _time_part(lambda t: t.timetuple().tm_yday - 1)),
    "getHours": Function(1, 2, INT, _clock_part(3600, lambda t: t.hour)),
    "getMinutes": Function(1, 2, INT, _clock_part(60, lambda t: t.minute)),
    "getSeconds": Function(1, 2, INT, _clock_part(1, lambda t: t.second)),
    "getMilliseconds": Function(1, 2, INT, _clock_part(0.001, lambda t: t.microsecond // 1000)),
}
