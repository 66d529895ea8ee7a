"""Between Kubernetes' ``Status`` bodies and our error tree. Pure; the client reads, the API server writes."""

from __future__ import annotations

from typing import Any

import msgspec

from lightship import errors

_BY_REASON: dict[str, type[errors.LightshipError]] = {
    kind.reason: kind
    for kind in (
        errors.InvalidInput, errors.BadRequest, errors.TooLarge, errors.Unauthenticated, errors.Forbidden,
        errors.NotFound, errors.Conflict, errors.AlreadyExists, errors.Gone, errors.Unsupported, errors.Unavailable,
        errors.DeadlineExceeded, errors.InternalError,
    )
}

_BY_CODE: dict[int, type[errors.LightshipError]] = {
    400: errors.BadRequest, 401: errors.Unauthenticated, 403: errors.Forbidden, 404: errors.NotFound,
    405: errors.Unsupported, 406: errors.InvalidInput, 409: errors.Conflict, 410: errors.Gone, 413: errors.TooLarge,
    415: errors.InvalidInput, 422: errors.InvalidInput,
    429: errors.Unavailable, 500: errors.InternalError, 501: errors.Unsupported, 503: errors.Unavailable,
    504: errors.DeadlineExceeded,
}


def error_of(status: dict[str, Any]) -> errors.LightshipError:
    """The error that a decoded ``Status`` stands for."""
    code = int(status.get("code") or 500)
    kind = _BY_REASON.get(str(status.get("reason") or "")) or _BY_CODE.get(code, errors.InternalError)
    return kind(str(status.get("message") or f"the server answered {code}"))


def error_of_body(code: int, body: bytes) -> errors.LightshipError:
    """The error that an HTTP answer stands for, whether or not its body is a ``Status``."""
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        decoded = None
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        return error_of({"code": code} | decoded)
    kind = _BY_CODE.get(code, errors.InternalError)
    if isinstance(decoded, dict) and isinstance(decoded.get("message"), str):  # as REST APIs behind a proxy answer
        return kind(decoded["message"])
    return kind(f"the server answered {code}: {body[:500].decode(errors='replace')}")
